// Names and initial weights of the layers.
#include "nn/layers.hpp"

namespace phasor {

Linear::Linear(const std::string& name, int64_t inputs, int64_t outputs, Build build)
    : weight(build.parameters.add(name + ".weight",
                                  normal({inputs, outputs}, 0, build.init_deviation, build.dtype, build.random),
                                  Decay::yes)) {}

Embedding::Embedding(const std::string& name, int64_t vocabulary, int64_t width, Build build)
    : weight(build.parameters.add(name + ".weight",
                                  normal({vocabulary, width}, 0, build.init_deviation, build.dtype, build.random),
                                  Decay::no)) {}

RmsNorm::RmsNorm(const std::string& name, int64_t width, Build build)
    : weight(build.parameters.add(name + ".weight", Tensor::full({width}, 1, build.dtype), Decay::no)) {}

SwigluMlp::SwigluMlp(const std::string& name, int64_t width, int64_t hidden, Build build)
    : gate(name + ".gate", width, hidden, build),
      up(name + ".up", width, hidden, build),
      down(name + ".down", hidden, width, build) {}

}  // namespace phasor
