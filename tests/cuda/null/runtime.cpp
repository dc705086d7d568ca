// A CUDA runtime without a device: kernels do nothing. Preloaded, it answers torch's CUDA build in place of libcudart.
#include "null.h"

#include <cstdio>
#include <cstring>
#include <map>
#include <string>

namespace {

// CUDA_VISIBLE_DEVICES hides devices, as it does with a real driver.
int visible() {
  int there = int(setting("NULL_CUDA_DEVICES", 1));
  const char* listed = getenv("CUDA_VISIBLE_DEVICES");
  if (!listed) return there;
  int named = *listed ? 1 : 0;
  for (const char* at = listed; *at; at++) named += *at == ',';
  return named < there ? named : there;
}
const int devices = visible();
constexpr int capability = 90;
thread_local int current = 0;
thread_local cudaError_t last = cudaSuccess;

cudaError_t launch(const void* stream) {
  count(kernel, 0, stream);
  stall("launch");
  return cudaSuccess;
}

}  // namespace

cudaError_t fail(cudaError_t error) { return last = error; }

extern "C" {
cudaError_t cudaGetDeviceCount(int* number) { *number = devices; return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) { *device = current; return cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
  if (device >= devices) return fail(cudaErrorInvalidDevice);
  current = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* is, int device) {
  size_t left;
  memset(is, 0, sizeof *is);
  strcpy(is->name, "null GPU");
  is->uuid.bytes[0] = char(device + 1);
  is->pciBusID = device + 1;
  cudaMemGetInfo(&left, &is->totalGlobalMem);
  is->major = capability / 10;
  is->minor = capability % 10;
  is->multiProcessorCount = 132;
  is->warpSize = 32;
  is->regsPerBlock = is->regsPerMultiprocessor = 65536;
  is->sharedMemPerBlock = 48 << 10;
  is->sharedMemPerBlockOptin = 227 << 10;
  is->sharedMemPerMultiprocessor = 228 << 10;
  is->maxThreadsPerBlock = is->maxThreadsDim[0] = is->maxThreadsDim[1] = 1024;
  is->maxThreadsDim[2] = 64;
  is->maxThreadsPerMultiProcessor = 2048;
  is->maxGridSize[0] = 2147483647;
  is->maxGridSize[1] = is->maxGridSize[2] = 65535;
  is->l2CacheSize = 50 << 20;
  is->memPitch = 2147483647;
  is->textureAlignment = 512;
  is->asyncEngineCount = 3;
  is->unifiedAddressing = is->concurrentKernels = is->canMapHostMemory = is->memoryPoolsSupported = 1;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp is;
  cudaGetDeviceProperties(&is, device);
  const std::map<cudaDeviceAttr, int> known = {
      {cudaDevAttrComputeCapabilityMajor, is.major}, {cudaDevAttrComputeCapabilityMinor, is.minor},
      {cudaDevAttrMultiProcessorCount, is.multiProcessorCount}, {cudaDevAttrWarpSize, is.warpSize},
      {cudaDevAttrMaxThreadsPerBlock, is.maxThreadsPerBlock}, {cudaDevAttrMaxThreadsPerMultiProcessor, is.maxThreadsPerMultiProcessor},
      {cudaDevAttrMaxSharedMemoryPerBlock, int(is.sharedMemPerBlock)}, {cudaDevAttrMaxSharedMemoryPerBlockOptin, int(is.sharedMemPerBlockOptin)},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, int(is.sharedMemPerMultiprocessor)}, {cudaDevAttrMaxRegistersPerBlock, is.regsPerBlock},
      {cudaDevAttrMaxGridDimX, is.maxGridSize[0]}, {cudaDevAttrMaxGridDimY, is.maxGridSize[1]}, {cudaDevAttrMaxGridDimZ, is.maxGridSize[2]},
      {cudaDevAttrMaxBlockDimX, is.maxThreadsDim[0]}, {cudaDevAttrMaxBlockDimY, is.maxThreadsDim[1]}, {cudaDevAttrMaxBlockDimZ, is.maxThreadsDim[2]},
      {cudaDevAttrL2CacheSize, is.l2CacheSize}};
  auto found = known.find(attribute);
  *value = found == known.end() ? 1 : found->second;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { *can = 1; return cudaSuccess; }
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) { *pool = cudaMemPool_t(1); return cudaSuccess; }
cudaError_t cudaDeviceGetPCIBusId(char* id, int room, int device) { snprintf(id, room, "0000:%02x:00.0", device + 1); return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) { *least = 0; *greatest = -5; return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { if (forbidden()) return cudaErrorStreamCaptureUnsupported; count(device_wait_of_host); return cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { *version = CUDART_VERSION; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { *version = CUDART_VERSION; return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t error) { return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaError"; }
const char* cudaGetErrorString(cudaError_t error) { return error == cudaErrorMemoryAllocation ? "out of memory" : error ? "null driver's error" : "no error"; }
cudaError_t cudaGetLastError() { cudaError_t error = last; last = cudaSuccess; return error; }
cudaError_t cudaPeekAtLastError() { return last; }

// ------------------------------------------------------------------------------------------ kernels
void** __cudaRegisterFatBinary(void*) { static void* registered[4]; return registered; }
static thread_local struct { dim3 grid, block; size_t shared; cudaStream_t stream; } pushed;
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) { pushed = {grid, block, shared, stream}; return 0; }
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  *grid = pushed.grid; *block = pushed.block; *shared = pushed.shared; *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) { *kernel = cudaKernel_t(host); return cudaSuccess; }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t stream) { return launch(stream); }
cudaError_t cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t stream) { return launch(stream); }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void*, void**) { return launch(how->stream); }
cudaError_t cudaLaunchCooperativeKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t stream) { return launch(stream); }
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* are, const void*) {
  memset(are, 0, sizeof *are);
  are->maxThreadsPerBlock = 1024;
  are->numRegs = 32;
  are->ptxVersion = are->binaryVersion = capability;
  are->maxDynamicSharedSizeBytes = 227 << 10;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int threads, size_t, unsigned) {
  *blocks = threads > 1024 || threads < 1 ? 1 : 2048 / threads;
  return cudaSuccess;
}

// ------------------------------------------------------------------------------------------ the driver
static int nothing() { return 0; }
int cuGetErrorString(int, const char** said) { *said = "null driver"; return 0; }
int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) { *flags = 0; *active = 1; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int* value, int, int) { *value = 0; return 0; }
int cuCtxGetCurrent(void** context) { *context = (void*)1; return 0; }
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** entry, unsigned, unsigned long long, cudaDriverEntryPointQueryResult* result) {
  static const std::map<std::string, void*> known = {
      {"cuGetErrorString", (void*)cuGetErrorString}, {"cuDevicePrimaryCtxGetState", (void*)cuDevicePrimaryCtxGetState},
      {"cuDeviceGet", (void*)cuDeviceGet}, {"cuDeviceGetAttribute", (void*)cuDeviceGetAttribute},
      {"cuCtxGetCurrent", (void*)cuCtxGetCurrent}};
  auto found = known.find(name);
  *entry = found == known.end() ? memory_entry(name) : found->second;
  if (!*entry) *entry = (void*)nothing;
  if (result) *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}

// ------------------------------------------------------------------------------------------ its management library
// It knows the device, and of no link or fabric.
int nvmlInit_v2() { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char*, void** device) { *device = handle(); return 0; }
#define NOT_SUPPORTED(name) int name() { return 3; }
NOT_SUPPORTED(nvmlDeviceGetNvLinkRemoteDeviceType)
NOT_SUPPORTED(nvmlDeviceGetNvLinkRemotePciInfo_v2)
NOT_SUPPORTED(nvmlDeviceGetComputeRunningProcesses)
NOT_SUPPORTED(nvmlDeviceGetGpuFabricInfoV)
NOT_SUPPORTED(nvmlSystemGetCudaDriverVersion_v2)
}
