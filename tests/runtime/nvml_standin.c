/* A stand-in for NVIDIA's management library with two GPUs: a full one, and a laptop's that hides its power
 * and its processes' memory. Built by the tests as libnvidia-ml.so.1 and loaded by the real binding. */
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } use_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int instance, compute; } process_t;

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };
static int first, second;

static int text(char *out, unsigned int length, const char *words) {
    strncpy(out, words, length - 1);
    out[length - 1] = 0;
    return OK;
}
static const char *set(const char *name, const char *standard) {
    const char *value = getenv(name);
    return value ? value : standard;
}

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return getenv("STANDIN_NO_DRIVER") ? DRIVER_NOT_LOADED : OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Error"; }
int nvmlSystemGetDriverVersion(char *out, unsigned int length) { return text(out, length, "580.65.06"); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = atoi(set("STANDIN_CUDA", "13000")); return OK; }
int nvmlDeviceGetCount_v2(unsigned int *out) { *out = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **out) {
    if (index == 1 && getenv("STANDIN_LOST")) return GPU_IS_LOST;
    *out = index ? &second : &first;
    return OK;
}
int nvmlDeviceGetName(void *gpu, char *out, unsigned int length) {
    return text(out, length, gpu == &first ? "NVIDIA GeForce RTX 4070" : "NVIDIA GeForce MX450");
}
int nvmlDeviceGetUUID(void *gpu, char *out, unsigned int length) {
    return text(out, length, gpu == &first ? "GPU-aaaa" : "GPU-bbbb");
}
int nvmlDeviceGetMemoryInfo(void *gpu, memory_t *out) {
    out->total = gpu == &first ? 12ULL << 30 : 2ULL << 30;
    out->used = gpu == &first ? 3ULL << 30 : 0;
    out->free = out->total - out->used;
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor) {
    *major = gpu == &first ? 8 : 7;
    *minor = gpu == &first ? 9 : 5;
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *gpu, use_t *out) {
    if (gpu != &first) return NOT_SUPPORTED;
    out->gpu = 37;
    out->memory = 12;
    return OK;
}
int nvmlDeviceGetTemperature(void *gpu, int sensor, unsigned int *out) { (void)gpu; (void)sensor; *out = 61; return OK; }
int nvmlDeviceGetPowerUsage(void *gpu, unsigned int *out) {
    if (gpu != &first) return NOT_SUPPORTED;
    *out = 120500;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(void *gpu, unsigned int *out) {
    if (gpu != &first) return NOT_SUPPORTED;
    *out = 200000;
    return OK;
}
static int list(process_t *wanted, unsigned int there, unsigned int *count, process_t *out) {
    if (!out || *count < there) {
        *count = there;
        return there ? INSUFFICIENT_SIZE : OK;
    }
    memcpy(out, wanted, there * sizeof *wanted);
    *count = there;
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned int *count, process_t *out) {
    process_t used[] = {{1, 500ULL << 20, 0, 0}, {(unsigned int)atoi(set("STANDIN_PID", "2")), 2ULL << 30, 0, 0}};
    process_t hidden[] = {{1, ~0ULL, 0, 0}};
    return gpu == &first ? list(used, 2, count, out) : list(hidden, 1, count, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *gpu, unsigned int *count, process_t *out) {
    process_t used[] = {{1, 600ULL << 20, 0, 0}};
    return list(used, gpu == &first ? 1 : 0, count, out);
}
