"""A library that answers as NVIDIA's driver does, of two GPUs, for machines without one.

`nvidia-ml-py` opens it by LD_LIBRARY_PATH. The second GPU does not tell how busy it is, as
parts of a GPU do not.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = """
#include <string.h>
typedef struct { int number; } Device;
typedef struct { unsigned long long total, available, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
enum { OK = 0, BAD_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
static Device devices[] = {{0}, {1}};

int nvmlInitWithFlags(unsigned flags) { return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **device) {
    if (index > 1) return BAD_ARGUMENT;
    *device = devices + index;
    return OK;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Device **device) {
    if (strcmp(uuid, "GPU-bb")) return NOT_FOUND;
    *device = devices + 1;
    return OK;
}
int nvmlDeviceGetName(Device *device, char *name, unsigned length) {
    strncpy(name, device->number ? "Second GPU" : "First GPU", length);
    return OK;
}
int nvmlDeviceGetMemoryInfo(Device *device, Memory *memory) {
    memory->total = 80000000000ULL;
    memory->used = device->number ? 0 : 60500000000ULL;
    memory->available = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetUtilizationRates(Device *device, Utilization *rates) {
    if (device->number) return NOT_SUPPORTED;
    rates->gpu = 97;
    rates->memory = 40;
    return OK;
}
"""
FIRST = {"device": "0", "name": "First GPU", "memory_used": 60_500_000_000, "memory_total": 80_000_000_000,
         "utilization": 0.97}  # fmt: skip
SECOND = {"device": "1", "name": "Second GPU", "memory_used": 0, "memory_total": 80_000_000_000,
          "utilization": None}  # fmt: skip


def build_driver(folder: Path) -> dict[str, str]:
    """Compile the library. Return what a process needs in its environment to find it."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    command = ["gcc", "-x", "c", "-shared", "-fPIC", "-o", str(library), "-"]
    subprocess.run(command, input=SOURCE, text=True, check=True, capture_output=True, timeout=60)
    return {"LD_LIBRARY_PATH": str(folder)}
