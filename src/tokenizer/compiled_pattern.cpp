#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/compiled_pattern.h"

#include <pcre2.h>

#include <algorithm>
#include <array>

namespace lacuna {
namespace {

// Steps back that one search may take: far more than a sensible pattern needs for a text of any
// length (some for each character); a bad one ends here and not never.
constexpr std::uint64_t kSteps = 20'000'000, kStepsPerUnit = 64;
// Frames that the interpreter, which runs where no code can be made, may have at a time.
constexpr std::uint32_t kMaxDepth = 10'000'000;
constexpr std::size_t kFirstJitStack = std::size_t{1} << 20, kMaxStack = std::size_t{1} << 29;
constexpr std::size_t kLongestUserPattern = 10'000;

static_assert(CompiledPattern::kUnset == PCRE2_UNSET);

pcre2_code* code_of(const std::shared_ptr<void>& p) { return static_cast<pcre2_code*>(p.get()); }
pcre2_match_data* data_of(const PatternScratch& s) {
  return static_cast<pcre2_match_data*>(s.match_data.get());
}
pcre2_match_context* context_of(const PatternScratch& s) {
  return static_cast<pcre2_match_context*>(s.match_context.get());
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

bool is_limit(int result) {
  return result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_DEPTHLIMIT ||
         result == PCRE2_ERROR_HEAPLIMIT || result == PCRE2_ERROR_JIT_STACKLIMIT ||
         result == PCRE2_ERROR_RECURSELOOP;
}

void prepare(PatternScratch& scratch, std::size_t pairs) {
  if (scratch.pairs < pairs) {
    scratch.match_data.reset(pcre2_match_data_create(std::uint32_t(pairs), nullptr), [](void* p) {
      pcre2_match_data_free(static_cast<pcre2_match_data*>(p));
    });
    scratch.pairs = pairs;
  }
  if (!scratch.match_context) {
    scratch.match_context.reset(pcre2_match_context_create(nullptr), [](void* p) {
      pcre2_match_context_free(static_cast<pcre2_match_context*>(p));
    });
    CHECK(scratch.match_context, "not enough memory to search a text");
    pcre2_set_depth_limit(context_of(scratch), kMaxDepth);
    pcre2_set_heap_limit(context_of(scratch), std::uint32_t(kMaxStack / 1024));
  }
  CHECK(scratch.match_data, "not enough memory to search a text");
}

}  // namespace

CompiledPattern::CompiledPattern(std::string_view pattern, Units units) {
  std::uint32_t options = 0;
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  CHECK(context, "not enough memory to compile a pattern");
  if (units == Units::utf8) {
    options = PCRE2_UTF | PCRE2_UCP | PCRE2_ALT_BSUX | PCRE2_NEVER_BACKSLASH_C;
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context.get(), kLongestUserPattern);
  }
  int error = 0;
  std::size_t at = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options,
                            &error, &at, context.get()),
              [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
  CHECK(code_, message_of(error), ", at byte ", at, " of ", pattern.size());
  // Where memory may not become code the search is slower, and otherwise the same.
  pcre2_jit_compile(code_of(code_), PCRE2_JIT_COMPLETE);
  std::uint32_t count = 0;
  pcre2_pattern_info(code_of(code_), PCRE2_INFO_CAPTURECOUNT, &count);
  groups_ = count;
}

std::span<const std::size_t> CompiledPattern::search(std::string_view subject, std::size_t from,
                                                     PatternScratch& scratch) const {
  prepare(scratch, groups_ + 1);
  const std::uint64_t limit = kSteps + kStepsPerUnit * subject.size();
  pcre2_set_match_limit(context_of(scratch),
                        std::uint32_t(std::min<std::uint64_t>(limit, 0xffffffffu)));
  const auto match = [&] {
    return pcre2_match(code_of(code_), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                       from, 0, data_of(scratch), context_of(scratch));
  };
  int result = match();
  if (result == PCRE2_ERROR_JIT_STACKLIMIT && !scratch.jit_stack) {
    scratch.jit_stack.reset(
        pcre2_jit_stack_create(kFirstJitStack, kMaxStack, nullptr),
        [](void* p) { pcre2_jit_stack_free(static_cast<pcre2_jit_stack*>(p)); });
    pcre2_jit_stack_assign(context_of(scratch), nullptr, scratch.jit_stack.get());
    result = match();
  }
  if (result == PCRE2_ERROR_NOMATCH) return {};
  if (is_limit(result)) throw PatternLimitError(message_of(result));
  CHECK(result >= 0, message_of(result));
  return {pcre2_get_ovector_pointer(data_of(scratch)), 2 * (groups_ + 1)};
}

}  // namespace lacuna
