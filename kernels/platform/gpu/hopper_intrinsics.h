#pragma once

// Of a GPU of sm_90a. For kernels/platform/hopper_intrinsics.h alone.

namespace lacuna {

/// Whether this pass of the compiler is the one whose code may hold these instructions.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kHopperCode = true;
#else
inline constexpr bool kHopperCode = false;
#endif

/// An address in shared memory as descriptors hold it.
__device__ __forceinline__ std::uint32_t window_address(const void* shared) {
  return std::uint32_t(__cvta_generic_to_shared(shared));
}

__device__ __forceinline__ void barrier_init(MemoryBarrier* b, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(window_address(b)), "r"(arrivals)
               : "memory");
}
/// Makes initialised barriers known to the TMA unit; then __syncthreads makes them known to all.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(MemoryBarrier* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(window_address(b)) : "memory");
}
/// Arrives, and lets the phase last until `bytes` more have come.
__device__ __forceinline__ void barrier_arrive_expecting(MemoryBarrier* b, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(window_address(b)),
               "r"(bytes)
               : "memory");
}
/// Until the phase of this parity (0 for the first, 1 for the second, …) has ended. Parity 1 of a
/// fresh barrier counts as ended.
__device__ __forceinline__ void barrier_wait(MemoryBarrier* b, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done,[%0],%1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}" ::"r"(window_address(b)),
      "r"(parity)
      : "memory");
}

// Blocks of a cluster, which reach each other's shared memory.

/// The block's number in its cluster.
__device__ __forceinline__ unsigned block_rank() {
  unsigned rank;
  asm("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// __syncthreads of all blocks. No block may reach another before the other's barriers are
/// initialised, nor end before the others have reached it for the last time.
__device__ __forceinline__ void sync_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
}
/// barrier_arrive at the barrier that lies in block `rank` where `b` lies in this one. It makes no
/// stores known to that block: with .release.cluster ptxas puts a MEMBAR before. What this thread
/// has read before, by products too, is read when it arrives.
__device__ __forceinline__ void barrier_arrive_at(MemoryBarrier* b, unsigned rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there,%0,%1;\n"
      "mbarrier.arrive.shared::cluster.b64 _,[there];\n"
      "}" ::"r"(window_address(b)),
      "r"(rank)
      : "memory");
}

/// Begins to copy the box whose first element is at (row, column); its bytes count at `b`.
__device__ __forceinline__ void tma_load(void* shared, const TensorMap& map, int column, int row,
                                         MemoryBarrier* b) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0],[%1,{%3,%4}],[%2];" ::"r"(window_address(shared)),
      "l"(&map), "r"(window_address(b)), "r"(column), "r"(row)
      : "memory");
}
/// The same to every block of the cluster that `blocks` has a bit of, in the same place, where its
/// bytes count at the barrier in the same place as `b`.
__device__ __forceinline__ void tma_multicast(void* shared, const TensorMap& map, int column,
                                              int row, MemoryBarrier* b, unsigned blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0],[%1,{%3,%4}],[%2],%5;" ::"r"(window_address(shared)),
      "l"(&map), "r"(window_address(b)), "r"(column), "r"(row), "h"(std::uint16_t(blocks))
      : "memory");
}
/// Begins to copy global memory, in multiples of 16 bytes, both aligned to 16; the bytes count at
/// `b`.
__device__ __forceinline__ void bulk_load(void* shared, const void* global, unsigned bytes,
                                          MemoryBarrier* b) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(
          window_address(shared)),
      "l"(global), "r"(bytes), "r"(window_address(b))
      : "memory");
}
__device__ __forceinline__ void tma_prefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// Registers per thread from here on, for all warps of a warpgroup.
template <int n>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}
/// __syncthreads of a warpgroup alone, or of more; id 1 to 15, constant: for one in a register
/// ptxas reserves all 16 barriers of the multiprocessor.
template <int id, int threads = 128>
__device__ __forceinline__ void sync_warpgroups() {
  asm volatile("bar.sync %0,%1;" ::"n"(id), "n"(threads) : "memory");
}
/// Counts as one that waits there, but does not wait.
template <int id, int threads>
__device__ __forceinline__ void arrive_warpgroups() {
  asm volatile("bar.arrive %0,%1;" ::"n"(id), "n"(threads) : "memory");
}
/// Makes what this thread has stored in shared memory visible to products and to copies by the TMA
/// unit, which reach it by another way (the asynchronous proxy). Then a barrier, for other
/// threads'.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Begins to copy shared memory to global memory, or to add it there, in multiples of 16 bytes,
/// both aligned to 16. What threads have stored there needs fence_proxy_async before.
__device__ __forceinline__ void bulk_store(float* global, const float* shared, unsigned bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0],[%1],%2;" ::"l"(global),
               "r"(window_address(shared)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void bulk_add(float* global, const float* shared, unsigned bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0],[%1],%2;" ::"l"(global),
      "r"(window_address(shared)), "r"(bytes)
      : "memory");
}
__device__ __forceinline__ void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Until what this thread has committed has been read from shared memory.
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
/// Until it is done.
__device__ __forceinline__ void bulk_wait() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Blocks that take turns. A block may wait for those alone that have a lower ticket: they run
// already, or have ended, whatever order the GPU starts blocks in.

/// 0, 1, 2, … for the blocks of a launch.
__device__ __forceinline__ int take_ticket(std::int32_t* tickets) { return atomicAdd(tickets, 1); }
/// Until `mine` turns have ended; what was written in them is then there.
__device__ __forceinline__ void wait_for_turn(const std::int32_t* turns, int mine) {
  int ended;
  do asm volatile("ld.acquire.gpu.global.s32 %0,[%1];" : "=r"(ended) : "l"(turns) : "memory");
  while (ended != mine);
}
__device__ __forceinline__ void end_turn(std::int32_t* turns) {
  asm volatile("red.release.gpu.global.add.s32 [%0],1;" ::"l"(turns) : "memory");
}

/// The compiler computes `x` before, and uses it after. To it the instructions below name memory
/// alone, so that it could move what is done with the registers of a product across them.
template <int n>
__device__ __forceinline__ void keep_in_place(float (&x)[n]) {
#pragma unroll
  for (int i = 0; i < n; ++i) asm volatile("" : "+f"(x[i]));
}
template <int n>
__device__ __forceinline__ void keep_in_place(std::uint32_t (&x)[n][4]) {
#pragma unroll
  for (int i = 0; i < n; ++i)
    asm volatile("" : "+r"(x[i][0]), "+r"(x[i][1]), "+r"(x[i][2]), "+r"(x[i][3]));
}

/// Before products: `registers` are all that they read or add to.
template <class... Registers>
__device__ __forceinline__ void wgmma_fence(Registers&... registers) {
  (keep_in_place(registers), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most n of the committed groups are under way. `registers` are those of the products
/// that have then ended; until here they must neither be read nor written.
template <int n, class... Registers>
__device__ __forceinline__ void wgmma_wait(Registers&... registers) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n) : "memory");
  (keep_in_place(registers), ...);
}

#define LACUNA_F8(d, i)                                                                         \
  "+f"((d)[i]), "+f"((d)[(i) + 1]), "+f"((d)[(i) + 2]), "+f"((d)[(i) + 3]), "+f"((d)[(i) + 4]), \
      "+f"((d)[(i) + 5]), "+f"((d)[(i) + 6]), "+f"((d)[(i) + 7])
#define LACUNA_F32(d, i) \
  LACUNA_F8(d, i), LACUNA_F8(d, (i) + 8), LACUNA_F8(d, (i) + 16), LACUNA_F8(d, (i) + 24)
#define LACUNA_PLACES_32                                   \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LACUNA_PLACES_64                                             \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"           \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/// d = a b^T or, if `accumulate`, d += a b^T: a [64,16] and b [N,16] in shared memory, by rows. d
/// is one thread's part of [64,N]: of warp w, group = lane / 4 and member = lane % 4, d[4 n + i] is
/// row 16 w + group + 8 (i / 2), column 8 n + 2 member + i % 2. N = 64 or 128.
__device__ __forceinline__ void wgmma_rows(float (&d)[32], std::uint64_t a, std::uint64_t b,
                                           bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p,%34,0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LACUNA_PLACES_32
      "},%32,%33,p,1,1,0,0;\n}"
      : LACUNA_F32(d, 0)
      : "l"(a), "l"(b), "r"(int(accumulate)));
}
__device__ __forceinline__ void wgmma_rows(float (&d)[64], std::uint64_t a, std::uint64_t b,
                                           bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p,%66,0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LACUNA_PLACES_64
      "},%64,%65,p,1,1,0,0;\n}"
      : LACUNA_F32(d, 0), LACUNA_F32(d, 32)
      : "l"(a), "l"(b), "r"(int(accumulate)));
}
/// d += a b: a [64,16] from registers, as mma_bf16's first factor, 16 rows for each warp; b [16,N]
/// in shared memory, by columns.
__device__ __forceinline__ void wgmma_columns(float (&d)[32], const std::uint32_t (&a)[4],
                                              std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p,%37,0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LACUNA_PLACES_32
      "},{%32,%33,%34,%35},%36,p,1,1,1;\n}"
      : LACUNA_F32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
__device__ __forceinline__ void wgmma_columns(float (&d)[64], const std::uint32_t (&a)[4],
                                              std::uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p,%69,0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LACUNA_PLACES_64
      "},{%64,%65,%66,%67},%68,p,1,1,1;\n}"
      : LACUNA_F32(d, 0), LACUNA_F32(d, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
/// d = a b or, if `accumulate`, d += a b: a [64,16], by columns too, that is [16,64] by rows; b
/// [16,N].
__device__ __forceinline__ void wgmma_columns(float (&d)[32], std::uint64_t a, std::uint64_t b,
                                              bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p,%34,0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LACUNA_PLACES_32
      "},%32,%33,p,1,1,1,1;\n}"
      : LACUNA_F32(d, 0)
      : "l"(a), "l"(b), "r"(int(accumulate)));
}
__device__ __forceinline__ void wgmma_columns(float (&d)[64], std::uint64_t a, std::uint64_t b,
                                              bool accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p,%66,0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LACUNA_PLACES_64
      "},%64,%65,p,1,1,1,1;\n}"
      : LACUNA_F32(d, 0), LACUNA_F32(d, 32)
      : "l"(a), "l"(b), "r"(int(accumulate)));
}
#undef LACUNA_F8
#undef LACUNA_F32
#undef LACUNA_PLACES_32
#undef LACUNA_PLACES_64

}  // namespace lacuna
