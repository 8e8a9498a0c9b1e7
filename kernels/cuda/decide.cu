#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"

namespace lacuna {
namespace {

constexpr int kThreads = 512;
/// Draws of a segment that are sorted in shared memory; more of them in global memory.
constexpr int kSharedDraws = 1024;

/// Bitonic sort of any number of draws: those that are missing from a power of two count as the
/// last ones, and as every comparison moves the later one up, they never move.
__device__ void sort(ScoredDraw* draws, int n) {
  for (int size = 2; size / 2 < n; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      __syncthreads();
      for (int i = int(threadIdx.x); i < n; i += kThreads) {
        const int low = 2 * i - i % stride;
        // The first comparisons of a size mirror its second half: no half is sorted backwards.
        const int high = stride == size / 2 ? low ^ (size - 1) : low + stride;
        if (high >= n || low >= n || precedes(draws[low], draws[high])) continue;
        const ScoredDraw earlier = draws[high];
        draws[high] = draws[low];
        draws[low] = earlier;
      }
    }
  }
  __syncthreads();
}

struct DecideArguments {
  std::int32_t *tokens, *step;
  float* probability;
  std::int32_t* not_finite;
  const std::int32_t* drawn;
  ScoreSources found;
  const std::int32_t *rows, *offsets, *rules;
  const double* bounds;
  const std::int32_t* least;
  ScoredDraw* scratch;  // [draws], where a segment may exceed kSharedDraws
  std::int64_t draws, row_count, token_count;
  std::int32_t mask_token, number;

  __device__ bool is_row(std::int32_t row) const { return row >= 0 && row < token_count; }
  __device__ void commit(int m) const {
    for (std::int64_t at = m; at < row_count; at += draws)
      if (is_row(rows[at])) tokens[rows[at]] = drawn[m];
    if (drawn[m] == mask_token) return;
    step[m] = number;
    probability[m] = found.p_draw[m];
  }
};

/// One block per segment.
__global__ void decide_kernel(DecideArguments a) {
  __shared__ ScoredDraw shared[kSharedDraws];
  __shared__ int shared_count;
  const int begin = a.offsets[blockIdx.x], n = a.offsets[blockIdx.x + 1] - begin;
  const auto rule = CommitRule(a.rules[blockIdx.x]);
  ScoredDraw* draws = n <= kSharedDraws ? shared : a.scratch + begin;
  // What takes no part comes last.
  int part = 0, not_finite = 0;
  for (int i = int(threadIdx.x); i < n; i += kThreads) {
    const int m = begin + i;
    double score = -INFINITY;
    if (a.is_row(a.rows[m]) && a.tokens[a.rows[m]] == a.mask_token) {
      score = a.found.score(rule, m);
      if (!isfinite(score) || !isfinite(a.found.p_draw[m])) {
        not_finite = 1;
        score = -INFINITY;
      }
    }
    draws[i].score = score;
    draws[i].draw = m;
    part += isfinite(score);
  }
  if (block_sum(not_finite) > 0 && threadIdx.x == 0) *a.not_finite = 1;
  part = block_sum(part);
  if (part == 0) return;
  const int least = a.least[blockIdx.x];
  int count = n;
  if (least < part) {
    sort(draws, n);
    if (threadIdx.x == 0) shared_count = chosen_by(rule, a.bounds[blockIdx.x], draws, part);
    __syncthreads();
    count = shared_count > least ? shared_count : least;
  }
  for (int i = int(threadIdx.x); i < count; i += kThreads)
    if (isfinite(draws[i].score)) a.commit(draws[i].draw);
}

}  // namespace

void CudaOps::decide(const Commits& commits, const RowStats& found, Tensor rows, Tensor offsets,
                     const CommitRules& rules, std::int32_t mask_token, std::int32_t number) {
  const Checks c = checks("decide");
  const std::int64_t segments = check_decide(c, commits, found, rows, offsets, rules);
  const std::int64_t draws = found.draw.count();
  void* scratch = draws > kSharedDraws
                      ? device_.workspace(c.op(), draws * std::int64_t(sizeof(ScoredDraw)))
                      : nullptr;
  const DecideArguments a{.tokens = commits.tokens.as<std::int32_t>(),
                          .step = commits.step.as<std::int32_t>(),
                          .probability = commits.probability.as<float>(),
                          .not_finite = commits.not_finite.as<std::int32_t>(),
                          .drawn = found.draw.as<std::int32_t>(),
                          .found = score_sources(found),
                          .rows = rows.as<std::int32_t>(),
                          .offsets = offsets.as<std::int32_t>(),
                          .rules = rules.rules.as<std::int32_t>(),
                          .bounds = rules.bounds.as<double>(),
                          .least = rules.least.as<std::int32_t>(),
                          .scratch = static_cast<ScoredDraw*>(scratch),
                          .draws = draws,
                          .row_count = rows.count(),
                          .token_count = commits.tokens.count(),
                          .mask_token = mask_token,
                          .number = number};
  launch({c.op(), dim3(unsigned(segments)), kThreads, 0, stream()}, decide_kernel, a);
}

}  // namespace lacuna
