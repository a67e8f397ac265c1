"""Training pictures from worker processes: a pool of chunks in shared memory that the workers draw anew once they were taken.

A chunk holds a few pictures with their rows (rows.FIELDS). Each has one writer, and a version that is odd while it is being
written; the reader copies a chunk and takes it only if the version is even and the same after the copy. The reader prefers
chunks that it has not had; where the workers are too slow, or dead, it takes old ones again, so it never waits for them
once the first chunks are there.
"""
import mmap
import multiprocessing
import os
import queue
import signal
import threading
import time

import numpy as np
import torch

import rows


def shared(dtype, shape):
    """A zeroed array in anonymous memory that forked processes share (no file, no /dev/shm)."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype=dtype, count=int(np.prod(shape))).reshape(shape)


class Pool:
    """workers: processes; pictures: about how many the pool holds in all; chunk: pictures in a chunk. Fork before anything uses CUDA."""

    def __init__(self, tok, workers, pictures, chunk, seed):
        self.chunk, self.per_worker = chunk, max(4, pictures // chunk // workers)
        self.slots = self.per_worker * workers
        self.fields = {k: shared(t, (self.slots, chunk, *shape)) for k, (t, shape) in rows.FIELDS.items()}
        self.versions = shared(np.int64, (self.slots,))
        self.progress = shared(np.float64, (1,))
        self.used = shared(np.int64, (self.slots,))               # the version that the reader had last
        self.rng = np.random.default_rng([3, *seed])
        self.fresh = self.again = self.torn = 0
        context = multiprocessing.get_context("fork")
        self.processes = [context.Process(target=self._draw, args=(tok, w, [2, *seed, w], os.getpid()), daemon=True) for w in range(workers)]
        for p in self.processes:
            p.start()

    def _draw(self, tok, worker, seed, parent):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        rng, first, slot = np.random.default_rng(seed), worker * self.per_worker, 0
        while os.getppid() == parent:                             # ends with the training
            at, slot = first + slot, (slot + 1) % self.per_worker
            if self.versions[at] != self.used[at]:                # nobody has seen it yet
                time.sleep(0.001)
                continue
            self.versions[at] += 1
            rows.fill(tok, rng, float(self.progress[0]), {k: v[at] for k, v in self.fields.items()})
            self.versions[at] += 1

    def wait_for_first(self, chunks, seconds):
        end = time.time() + seconds
        while time.time() < end and np.count_nonzero((self.versions > 1) & (self.versions % 2 == 0)) < min(chunks, self.slots // 2):
            time.sleep(0.05)
        if not np.any((self.versions > 1) & (self.versions % 2 == 0)):
            raise RuntimeError("no worker has drawn a single chunk of pictures")

    def drawn(self):
        """Pictures drawn so far by all workers."""
        return int((self.versions // 2).sum()) * self.chunk

    def read(self, out, count):
        """Copies count random chunks into out (torch tensors as in FIELDS, leading dimension count * chunk)."""
        done = 0
        while done < count:
            versions = self.versions.copy()
            whole = (versions % 2 == 0) & (versions > 1)
            new = np.flatnonzero(whole & (versions != self.used))
            old = np.flatnonzero(whole)
            for slot in self.rng.permutation(new)[:count - done] if len(new) else self.rng.choice(old, 1):
                for k, v in self.fields.items():
                    out[k][done * self.chunk:(done + 1) * self.chunk].copy_(torch.from_numpy(v[slot]))
                if self.versions[slot] != versions[slot]:
                    self.torn += 1
                    continue
                if self.used[slot] == versions[slot]:
                    self.again += 1
                else:
                    self.fresh += 1
                self.used[slot] = versions[slot]
                done += 1

    def stop(self):
        for p in self.processes:
            p.terminate()


class Loader:
    """Reads batches ahead in a thread, into pinned memory on CUDA. take() gives host tensors, give_back() returns them."""

    def __init__(self, pool, batch, pinned, depth=4):
        self.pool, self.count = pool, batch // pool.chunk
        self.free, self.full, self.stopping = queue.Queue(), queue.Queue(), False
        for _ in range(depth):
            self.free.put(({k: torch.zeros(batch, *shape, dtype=torch.from_numpy(np.zeros(0, t)).dtype, pin_memory=pinned)
                            for k, (t, shape) in rows.FIELDS.items()}, None))
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while not self.stopping:
                try:
                    buffers, event = self.free.get(timeout=0.2)
                except queue.Empty:
                    continue
                if event is not None:
                    event.synchronize()                           # the copy to the device is over
                self.pool.read(buffers, self.count)
                self.full.put(buffers)
        except Exception as e:                                    # reported by take()
            self.error = e

    def take(self):
        while True:
            try:
                return self.full.get(timeout=1)
            except queue.Empty:
                if self.error is not None:
                    raise RuntimeError("the loader failed") from self.error

    def give_back(self, buffers, event):
        self.free.put((buffers, event))

    def stop(self):
        self.stopping = True
        self.thread.join(5)
