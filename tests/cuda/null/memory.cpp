// Memory: the host's, reserved, and first touched when somebody copies.
#include "null.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>

namespace {

const size_t memory = size_t(setting("NULL_CUDA_MIB", 81559)) << 20;
std::atomic<size_t> used{0};

class Ranges {
 public:
  void add(void* start, size_t bytes) { std::lock_guard<std::mutex> hold(lock); ends[uintptr_t(start)] = uintptr_t(start) + bytes; }
  size_t drop(void* start) {
    std::lock_guard<std::mutex> hold(lock);
    auto found = ends.find(uintptr_t(start));
    if (found == ends.end()) return 0;
    size_t bytes = found->second - found->first;
    ends.erase(found);
    return bytes;
  }
  bool has(const void* at) {
    std::lock_guard<std::mutex> hold(lock);
    auto next = ends.upper_bound(uintptr_t(at));
    return next != ends.begin() && uintptr_t(at) < std::prev(next)->second;
  }

 private:
  std::mutex lock;
  std::map<uintptr_t, uintptr_t> ends;
};
// Never destroyed: torch's own threads and static objects call in until the process is gone.
auto& on_device = *new Ranges;
auto& pinned = *new Ranges;

void* reserve(size_t bytes) {
  void* at = mmap(nullptr, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : at;
}

cudaError_t copy(void* to, const void* from, size_t bytes, bool waits, const void* stream) {
  bool up = on_device.has(to), down = on_device.has(from);
  if (up && down) {
    count(copy_on_device, bytes, stream);
  } else {
    bool page_locked = pinned.has(up ? from : to);
    count(up ? (page_locked ? upload_pinned : upload_pageable) : (page_locked ? download_pinned : download_pageable), bytes, stream);
    if (waits) count(copy_wait_of_host, bytes);
  }
  if (bytes <= SMALL || !up) memmove(to, from, bytes);
  return cudaSuccess;
}

// The driver's: addresses are reserved whole, and memory is made for parts of them.
int granularity(size_t* bytes, const void*, int) { *bytes = 2 << 20; return 0; }
int address_reserve(uintptr_t* at, size_t bytes, size_t, uintptr_t, unsigned long long) {
  void* room = reserve(bytes);
  on_device.add(room, bytes);
  *at = uintptr_t(room);
  return room ? 0 : 2;
}
int address_free(uintptr_t at, size_t bytes) {
  on_device.drop(reinterpret_cast<void*>(at));
  return munmap(reinterpret_cast<void*>(at), bytes);
}
int create(uintptr_t* made, size_t bytes, const void*, unsigned long long) {
  count(allocation, bytes);
  if (used + bytes > memory) return 2;
  used += bytes;
  *made = uintptr_t(new size_t(bytes));
  return 0;
}
int let_go(uintptr_t made) {
  count(release);
  used -= *reinterpret_cast<size_t*>(made);
  delete reinterpret_cast<size_t*>(made);
  return 0;
}

}  // namespace

void* memory_entry(const char* name) {
  static const std::map<std::string, void*> known = {
      {"cuMemGetAllocationGranularity", (void*)granularity}, {"cuMemAddressReserve", (void*)address_reserve},
      {"cuMemAddressFree", (void*)address_free}, {"cuMemCreate", (void*)create}, {"cuMemRelease", (void*)let_go}};
  auto found = known.find(name);
  return found == known.end() ? nullptr : found->second;
}

extern "C" {
cudaError_t cudaMalloc(void** made, size_t bytes) {
  if (forbidden()) return cudaErrorStreamCaptureUnsupported;
  count(allocation, bytes);
  if (used + bytes > memory || !(*made = reserve(bytes))) return fail(cudaErrorMemoryAllocation);
  used += bytes;
  on_device.add(*made, bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* at) {
  if (forbidden()) return cudaErrorStreamCaptureUnsupported;
  if (!at) return cudaSuccess;
  count(release);
  if (size_t bytes = on_device.drop(at)) {
    munmap(at, bytes);
    used -= bytes;
  }
  return cudaSuccess;
}
cudaError_t cudaMallocAsync(void** made, size_t bytes, cudaStream_t) { return cudaMalloc(made, bytes); }
cudaError_t cudaFreeAsync(void* at, cudaStream_t) { return cudaFree(at); }
cudaError_t cudaHostAlloc(void** made, size_t bytes, unsigned) {
  if (forbidden()) return cudaErrorStreamCaptureUnsupported;
  *made = reserve(bytes);
  pinned.add(*made, bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* at) {
  if (size_t bytes = pinned.drop(at)) munmap(at, bytes);
  return cudaSuccess;
}
cudaError_t cudaHostRegister(void* at, size_t bytes, unsigned) { pinned.add(at, bytes); return cudaSuccess; }
cudaError_t cudaHostUnregister(void* at) { pinned.drop(at); return cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* left, size_t* whole) { *whole = memory; *left = memory - used; return cudaSuccess; }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* at) {
  memset(found, 0, sizeof *found);
  found->type = on_device.has(at) ? cudaMemoryTypeDevice : pinned.has(at) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
  if (found->type != cudaMemoryTypeUnregistered) found->devicePointer = const_cast<void*>(at);
  if (found->type == cudaMemoryTypeHost) found->hostPointer = const_cast<void*>(at);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) { if (forbidden()) return cudaErrorStreamCaptureUnsupported; return copy(to, from, bytes, true, nullptr); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) { return copy(to, from, bytes, false, stream); }
cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, cudaStream_t stream) { return copy(to, from, bytes, false, stream); }
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
  count(copy_on_device, width * height, stream);
  for (size_t row = 0; row < height; row++) memmove((char*)to + row * to_pitch, (const char*)from + row * from_pitch, width);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  count(fill, bytes, stream);
  if (bytes <= SMALL) memset(at, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* at, int value, size_t bytes) { return cudaMemsetAsync(at, value, bytes, nullptr); }
cudaError_t cudaGetSymbolAddress(void** at, const void*) { *at = handle(); return cudaSuccess; }
}
