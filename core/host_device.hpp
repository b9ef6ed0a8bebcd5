// PHASOR_HOST_DEVICE: marks what kernels on a GPU call too.
#pragma once

#ifdef __CUDACC__
#define PHASOR_HOST_DEVICE __host__ __device__
#else
#define PHASOR_HOST_DEVICE
#endif
