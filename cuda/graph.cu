// Work recorded once and launched many times: CUDA graphs.
#include <utility>

#include "cuda/memory.cuh"

namespace phasor::cuda {

struct Graph {
  std::shared_ptr<Pool> pool = std::make_shared<Pool>(true);
  std::vector<std::shared_ptr<std::byte>> constants;  // came from the host during the recording
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;

  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    (void)cudaStreamSynchronize(stream());  // a launch may still run in its blocks
    if (executable) (void)cudaGraphExecDestroy(executable);
    if (graph) (void)cudaGraphDestroy(graph);
  }
};

static Graph* recording = nullptr;  // one at a time, like the stream

bool is_capturing() { return recording != nullptr; }

void keep_constant(std::shared_ptr<std::byte> block) { recording->constants.push_back(std::move(block)); }

std::shared_ptr<Graph> captured(const std::function<void()>& work) {
  require<DeviceError>(recording == nullptr, "graph", "another graph is being recorded");
  auto result = std::make_shared<Graph>();
  // Relaxed: blocks may be asked of the driver, and constants be sent on another stream, while this one records.
  check("graph", cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed));
  const std::shared_ptr<Pool> outer = exchange_pool(result->pool);
  recording = result.get();
  const auto end = [&] {
    recording = nullptr;
    exchange_pool(outer);
    return cudaStreamEndCapture(stream(), &result->graph);
  };
  try {
    work();
  } catch (...) {
    (void)end();
    (void)cudaGetLastError();
    throw;
  }
  check("graph", end());
  check("graph", cudaGraphInstantiate(&result->executable, result->graph, 0));
  return result;
}

void launch(Graph& graph) {
  before_launch("graph");
  check("graph", cudaGraphLaunch(graph.executable, stream()));
}

}  // namespace phasor::cuda
