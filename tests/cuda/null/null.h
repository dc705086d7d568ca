// What the parts of the null driver share.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cuda_runtime_api.h>

// What is counted, in the order in which Python reads it (`null_kinds`).
#define NULL_KINDS(X)                                                                                                  \
  X(kernel) X(blas) X(dnn) X(nccl) X(fill) X(copy_on_device)                                                           \
  X(upload_pinned) X(upload_pageable) X(download_pinned) X(download_pageable)                                          \
  X(stream_wait_of_host) X(event_wait_of_host) X(device_wait_of_host) X(copy_wait_of_host) X(event_wait_of_stream)     \
  X(allocation) X(release) X(graph)

enum Kind {
#define X(name) name,
  NULL_KINDS(X)
#undef X
  KINDS
};

struct Graph {
  long nodes[KINDS] = {};
};

constexpr size_t SMALL = 1 << 20;  // copies up to this size are made, for their values are read; larger ones are counted

// Counts one call, of `bytes` where it moves any. A kernel, library call, fill or copy that is issued to a stream under
// capture goes to the graph instead, and is counted as replayed at each of its launches.
void count(Kind kind, size_t bytes = 0, const void* stream = nullptr);
void count_replayed(const Graph& graph);
Graph* captured_by(const void* stream);  // null where no capture is under way

// While the file that NULL_CUDA_STALL names exists and holds the name of a call, that call does not return, and says so in
// a file `….reached`.
void stall(const char* call);

long setting(const char* name, long otherwise);
cudaError_t fail(cudaError_t error);  // as the runtime's last error, too
bool forbidden();                     // whether what would wait is an error now, for a capture is under way

// Opaque objects that a caller only hands back.
inline void* handle() { return calloc(1, 4096); }

// The driver's part of memory, which torch asks for by name (expandable segments).
void* memory_entry(const char* name);
