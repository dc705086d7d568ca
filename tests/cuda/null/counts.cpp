// The counters, and what the tests ask of them.
#include "null.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <unistd.h>

namespace {

using Counts = std::atomic<long>[KINDS];
Counts counted, replayed;
std::atomic<void (*)(int, size_t)> listener{nullptr};

}  // namespace

long setting(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value ? atol(value) : otherwise;
}

void count(Kind kind, size_t bytes, const void* stream) {
  Graph* graph = kind < stream_wait_of_host ? captured_by(stream) : nullptr;
  if (graph) {
    graph->nodes[kind]++;
    return;
  }
  counted[kind]++;
  if (auto heard = listener.load()) heard(kind, bytes);
}

void count_replayed(const Graph& graph) {
  for (int kind = 0; kind < KINDS; kind++) replayed[kind] += graph.nodes[kind];
}

void stall(const char* call) {
  static const char* path = getenv("NULL_CUDA_STALL");
  char said[64] = "";
  while (path) {
    FILE* file = fopen(path, "r");
    if (!file) return;
    bool ours = fgets(said, sizeof said, file) && !strcmp(said, call);
    fclose(file);
    if (!ours) return;
    fclose(fopen((std::string(path) + ".reached").c_str(), "w"));
    usleep(100000);
  }
}

extern "C" {
const char* null_kinds() {
  return ""
#define X(name) #name " "
      NULL_KINDS(X)
#undef X
      ;
}
void null_reset() {
  for (auto* all : {&counted, &replayed})
    for (auto& one : *all) one = 0;
}
long null_count(int kind) { return counted[kind]; }
long null_replayed(int kind) { return replayed[kind]; }
void null_listen(void (*heard)(int, size_t)) { listener = heard; }
}
