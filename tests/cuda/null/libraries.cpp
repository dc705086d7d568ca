// cuBLAS, cuDNN, NVRTC and NCCL that compute nothing. One process stands for a rank: NCCL's peers answer with its own rows.
#include "null.h"

#include <cstring>
#define __CUDA_FP16_H__  // half precision's arithmetic, which needs a CUDA compiler's headers
#define __CUDA_BF16_H__
#define __CUDA_FP8_H__
#include <cudnn.h>
#include <nccl.h>
#include <nvrtc.h>

namespace {

thread_local cudaStream_t blas_stream, dnn_stream;


struct Communicator { int ranks, rank; };
size_t width(ncclDataType_t type) {
  switch (type) {
    case ncclInt8: case ncclUint8: case ncclFloat8e4m3: case ncclFloat8e5m2: return 1;
    case ncclFloat16: case ncclBfloat16: return 2;
    case ncclInt64: case ncclUint64: case ncclFloat64: return 8;
    default: return 4;
  }
}
ncclResult_t same(const void* from, void* to, size_t number, ncclDataType_t type, cudaStream_t stream) {
  size_t bytes = number * width(type);
  count(nccl, bytes, stream);
  if (from != to && bytes <= SMALL) memmove(to, from, bytes);
  return ncclSuccess;
}
ncclResult_t joined(ncclComm_t* made, int ranks, int rank) {
  stall("ncclCommInitRank");
  *made = reinterpret_cast<ncclComm_t>(new Communicator{ranks, rank});
  return ncclSuccess;
}

}  // namespace

extern "C" {

// Whatever else torch calls of these libraries: see build.py.
int library_call(int kind) {
  count(Kind(kind), 0, kind == blas ? blas_stream : dnn_stream);
  return 0;
}

// ------------------------------------------------------------------------------------------ cuBLAS
// By hand: its headers can't be read without a CUDA compiler. Handles are pointers, enumerations are int.
struct Heuristic { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; };

size_t cublasLtGetVersion() { return 130101; }
int cublasCreate_v2(void** made) { *made = handle(); return 0; }
int cublasSetStream_v2(void*, cudaStream_t stream) { blas_stream = stream; return 0; }
int cublasGetMathMode(void*, int* mode) { *mode = 0; return 0; }
int cublasGetPointerMode_v2(void*, int* mode) { *mode = 0; return 0; }
int cublasLtMatmulDescCreate(void** made, int, int) { *made = handle(); return 0; }
int cublasLtMatmulPreferenceCreate(void** made) { *made = handle(); return 0; }
int cublasLtMatrixLayoutCreate(void** made, int, uint64_t, uint64_t, int64_t) { *made = handle(); return 0; }
int cublasLtMatmulDescDestroy(void* made) { free(made); return 0; }
int cublasLtMatmulPreferenceDestroy(void* made) { free(made); return 0; }
int cublasLtMatrixLayoutDestroy(void* made) { free(made); return 0; }
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, Heuristic* results, int* number) {
  memset(results, 0, sizeof *results);
  *number = 1;
  return 0;
}
int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*, void*, void*,
                   const void*, void*, size_t, cudaStream_t stream) {
  blas_stream = stream;
  return library_call(blas);
}

// ------------------------------------------------------------------------------------------ cuDNN
size_t cudnnGetVersion() { return CUDNN_VERSION; }
size_t cudnnGetCudartVersion() { return CUDART_VERSION; }
const char* cudnnGetErrorString(cudnnStatus_t) { return "null driver"; }
void cudnnGetLastErrorString(char* said, size_t room) { if (room) *said = 0; }
cudnnStatus_t cudnnCreate(cudnnHandle_t* made) { *made = cudnnHandle_t(handle()); return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t stream) { dnn_stream = stream; return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnGetStream(cudnnHandle_t, cudaStream_t* stream) { *stream = dnn_stream; return CUDNN_STATUS_SUCCESS; }
#define DESCRIPTOR(create, destroy, type)                                                       \
  cudnnStatus_t create(type* made) { *made = type(handle()); return CUDNN_STATUS_SUCCESS; }     \
  cudnnStatus_t destroy(type made) { free(made); return CUDNN_STATUS_SUCCESS; }
DESCRIPTOR(cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor, cudnnTensorDescriptor_t)
DESCRIPTOR(cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor, cudnnActivationDescriptor_t)
DESCRIPTOR(cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor, cudnnFilterDescriptor_t)
DESCRIPTOR(cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor, cudnnConvolutionDescriptor_t)
cudnnStatus_t cudnnGetBatchNormalizationTrainingExReserveSpaceSize(
    cudnnHandle_t, cudnnBatchNormMode_t, cudnnBatchNormOps_t, cudnnActivationDescriptor_t, cudnnTensorDescriptor_t, size_t* bytes) {
  *bytes = 0;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    cudnnHandle_t, cudnnBatchNormMode_t, cudnnBatchNormOps_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t,
    cudnnTensorDescriptor_t, cudnnActivationDescriptor_t, size_t* bytes) {
  *bytes = 0;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    cudnnHandle_t, cudnnBatchNormMode_t, cudnnBatchNormOps_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t,
    cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnTensorDescriptor_t, cudnnActivationDescriptor_t, size_t* bytes) {
  *bytes = 0;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t, cudnnBackendDescriptor_t* made) { *made = cudnnBackendDescriptor_t(handle()); return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t made) { free(made); return CUDNN_STATUS_SUCCESS; }
// Heuristics have one engine to offer, which needs no workspace.
cudnnStatus_t cudnnBackendGetAttribute(
    cudnnBackendDescriptor_t, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t, int64_t, int64_t* number, void* values) {
  int64_t one = 1, none = 0;
  switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: case CUDNN_ATTR_ENGINECFG_ENGINE: if (number) *number = 1; break;
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE: case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      if (values) memcpy(values, &none, sizeof none);
      if (number) *number = 1;
      break;
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT: case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
      if (values) memcpy(values, &one, sizeof one);
      if (number) *number = 1;
      break;
    default: if (number) *number = 0;
  }
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) { library_call(dnn); return CUDNN_STATUS_SUCCESS; }

// ------------------------------------------------------------------------------------------ NVRTC
nvrtcResult nvrtcGetLoweredName(nvrtcProgram, const char*, const char** name) { *name = "null"; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram, size_t* bytes) { *bytes = 8; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetPTXSize(nvrtcProgram, size_t* bytes) { *bytes = 8; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram, size_t* bytes) { *bytes = 1; return NVRTC_SUCCESS; }
nvrtcResult nvrtcGetProgramLog(nvrtcProgram, char* said) { *said = 0; return NVRTC_SUCCESS; }
const char* nvrtcGetErrorString(nvrtcResult) { return "null driver"; }
nvrtcResult nvrtcVersion(int* major, int* minor) { *major = CUDART_VERSION / 1000; *minor = 0; return NVRTC_SUCCESS; }

// ------------------------------------------------------------------------------------------ NCCL
ncclResult_t ncclGetVersion(int* version) { *version = NCCL_VERSION_CODE; return ncclSuccess; }
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) { memset(id, 7, sizeof *id); return ncclSuccess; }
const char* ncclGetErrorString(ncclResult_t) { return "null driver"; }
const char* ncclGetLastError(ncclComm_t) { return ""; }
ncclResult_t ncclCommInitRank(ncclComm_t* made, int ranks, ncclUniqueId, int rank) { return joined(made, ranks, rank); }
ncclResult_t ncclCommInitRankConfig(ncclComm_t* made, int ranks, ncclUniqueId, int rank, ncclConfig_t*) { return joined(made, ranks, rank); }
ncclResult_t ncclCommInitRankScalable(ncclComm_t* made, int ranks, int rank, int, ncclUniqueId*, ncclConfig_t*) { return joined(made, ranks, rank); }
ncclResult_t ncclCommSplit(ncclComm_t old, int, int rank, ncclComm_t* made, ncclConfig_t*) { return joined(made, reinterpret_cast<Communicator*>(old)->ranks, rank); }
ncclResult_t ncclCommFinalize(ncclComm_t) { stall("ncclCommFinalize"); return ncclSuccess; }
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) { *error = ncclSuccess; return ncclSuccess; }
ncclResult_t ncclCommCount(const ncclComm_t of, int* ranks) { *ranks = reinterpret_cast<const Communicator*>(of)->ranks; return ncclSuccess; }
ncclResult_t ncclCommUserRank(const ncclComm_t of, int* rank) { *rank = reinterpret_cast<const Communicator*>(of)->rank; return ncclSuccess; }
ncclResult_t ncclAllReduce(const void* from, void* to, size_t number, ncclDataType_t type, ncclRedOp_t, ncclComm_t, cudaStream_t stream) { return same(from, to, number, type, stream); }
ncclResult_t ncclBroadcast(const void* from, void* to, size_t number, ncclDataType_t type, int, ncclComm_t, cudaStream_t stream) { return same(from, to, number, type, stream); }
ncclResult_t ncclAllGather(const void* from, void* to, size_t number, ncclDataType_t type, ncclComm_t of, cudaStream_t stream) {
  size_t bytes = number * width(type);
  count(nccl, bytes, stream);
  if (bytes <= SMALL)
    for (int rank = 0; rank < reinterpret_cast<Communicator*>(of)->ranks; rank++) memmove((char*)to + rank * bytes, from, bytes);
  return ncclSuccess;
}
}
