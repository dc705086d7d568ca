// Streams, which run at once; events; and graphs of what is issued to a stream under capture.
#include "null.h"

#include <mutex>
#include <unordered_map>
#include <utility>

namespace {

struct Capture {
  Graph* graph;
  unsigned long long id;
};
std::mutex lock;
// Under capture: streams, and the events recorded on them, by which other streams join.
auto& capturing = *new std::unordered_map<const void*, Capture>;
auto& captured_events = *new std::unordered_map<const void*, Capture>;
std::atomic<int> captures{0};
thread_local int own_captures = 0;
thread_local cudaStreamCaptureMode strictness = cudaStreamCaptureModeGlobal;

}  // namespace

// A thread's mode looks at its own captures, in global mode at anybody's.
bool forbidden() {
  int seen = strictness == cudaStreamCaptureModeGlobal ? int(captures) : own_captures;
  if (!seen || strictness == cudaStreamCaptureModeRelaxed) return false;
  fail(cudaErrorStreamCaptureUnsupported);
  return true;
}

Graph* captured_by(const void* stream) {
  if (!captures) return nullptr;
  std::lock_guard<std::mutex> hold(lock);
  auto found = capturing.find(stream);
  return found == capturing.end() ? nullptr : found->second.graph;
}

extern "C" {
cudaError_t cudaStreamCreate(cudaStream_t* made) { *made = cudaStream_t(handle()); return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* made, unsigned) { return cudaStreamCreate(made); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* made, unsigned, int) { return cudaStreamCreate(made); }
cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) { *priority = 0; return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { if (forbidden()) return cudaErrorStreamCaptureUnsupported; count(stream_wait_of_host); return cudaSuccess; }
cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t call, void* data, unsigned) { call(stream, cudaSuccess, data); return cudaSuccess; }
cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t call, void* data) { call(data); return cudaSuccess; }
cudaError_t cudaEventCreate(cudaEvent_t* made) { *made = cudaEvent_t(handle()); return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* made, unsigned) { return cudaEventCreate(made); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { free(event); return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { if (forbidden()) return cudaErrorStreamCaptureUnsupported; count(event_wait_of_host); return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return forbidden() ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return forbidden() ? cudaErrorStreamCaptureUnsupported : cudaSuccess; }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) { std::swap(*mode, strictness); return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) { *milliseconds = 0.01f; return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard<std::mutex> hold(lock);
  auto found = capturing.find(stream);
  if (found == capturing.end()) captured_events.erase(event);
  else captured_events.emplace(event, found->second);
  return cudaSuccess;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) { return cudaEventRecord(event, stream); }
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  count(event_wait_of_stream);
  std::lock_guard<std::mutex> hold(lock);
  auto found = captured_events.find(event);
  if (found != captured_events.end()) capturing.emplace(stream, found->second);
  return cudaSuccess;
}

// ------------------------------------------------------------------------------------------ graphs
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  static unsigned long long id = 0;
  std::lock_guard<std::mutex> hold(lock);
  capturing[stream] = {new Graph, ++id};
  captures++;
  own_captures++;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard<std::mutex> hold(lock);
  auto found = capturing.find(stream);
  if (found == capturing.end()) return cudaErrorIllegalState;
  Graph* made = found->second.graph;
  for (auto* all : {&capturing, &captured_events})
    for (auto one = all->begin(); one != all->end();) one = one->second.graph == made ? all->erase(one) : std::next(one);
  captures--;
  own_captures--;
  *graph = cudaGraph_t(made);
  return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** nodes, const cudaGraphEdgeData** edges, size_t* number) {
  std::lock_guard<std::mutex> hold(lock);
  auto found = capturing.find(stream);
  bool active = found != capturing.end();
  *status = active ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  if (id) *id = active ? found->second.id : 0;
  if (graph) *graph = active ? cudaGraph_t(found->second.graph) : nullptr;
  if (nodes) *nodes = nullptr;
  if (edges) *edges = nullptr;
  if (number) *number = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return cudaStreamGetCaptureInfo(stream, status, nullptr, nullptr, nullptr, nullptr, nullptr);
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = cudaGraphExec_t(new Graph(*reinterpret_cast<Graph*>(graph)));
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long flags) { return cudaGraphInstantiate(made, graph, flags); }
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  count(::graph);
  count_replayed(*reinterpret_cast<Graph*>(graph));
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* number) {
  *number = 0;
  for (long nodes : reinterpret_cast<Graph*>(graph)->nodes) *number += nodes;
  return cudaSuccess;
}
}
