#include "kernels/platform/gemm_table.h"

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <utility>

#include "core/check.h"

namespace lacuna {
namespace {

constexpr const char* kTitle = "lacuna: algorithms of matrix products, version 2";  // words: kept

std::uint32_t alignment_of(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p) | 256;
  return std::uint32_t(address & (~address + 1));
}

/// FNV-1a, which notices what an editor or a disk does to a text.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ std::uint8_t(c)) * 0x100000001b3;
  return hash;
}
std::string last_line(const std::string& lines) {
  std::ostringstream line;
  line << "checksum " << std::hex << std::setw(16) << std::setfill('0') << hash_of(lines) << '\n';
  return line.str();
}

void write(std::ostream& out, const GemmShape& s, const GemmAlgorithm& algorithm) {
  out << std::dec << s.transpose_a << ' ' << s.transpose_b << ' ' << s.m << ' ' << s.n << ' ' << s.k
      << ' ' << s.lda << ' ' << s.ldb << ' ' << s.ldc << ' ' << int(s.factors) << ' '
      << int(s.result) << ' ' << s.a_alignment << ' ' << s.b_alignment << ' ' << s.c_alignment
      << std::hex;
  for (const std::uint64_t word : algorithm) out << ' ' << word;
  out << '\n';
}

bool read_line(const std::string& line, GemmShape& s, GemmAlgorithm& algorithm) {
  std::istringstream in(line);
  int factors = 0, result = 0;
  in >> std::dec >> s.transpose_a >> s.transpose_b >> s.m >> s.n >> s.k >> s.lda >> s.ldb >>
      s.ldc >> factors >> result >> s.a_alignment >> s.b_alignment >> s.c_alignment >> std::hex;
  s.factors = DType(factors);
  s.result = DType(result);
  for (std::uint64_t& word : algorithm) in >> word;
  return !in.fail() && (in >> std::ws).eof();
}

}  // namespace

GemmShape::GemmShape(const Gemm& p)
    : transpose_a(p.transpose_a),
      transpose_b(p.transpose_b),
      m(p.m),
      n(p.n),
      k(p.k),
      lda(p.lda),
      ldb(p.ldb),
      ldc(p.ldc),
      factors(p.factors),
      result(p.result),
      a_alignment(alignment_of(p.a)),
      b_alignment(alignment_of(p.b)),
      c_alignment(alignment_of(p.c)) {}

const GemmAlgorithm* GemmTable::find(const GemmShape& shape) const {
  const auto found = algorithms_.find(shape);
  return found == algorithms_.end() ? nullptr : &found->second;
}

void GemmTable::set(const GemmShape& shape, const GemmAlgorithm& algorithm) {
  algorithms_[shape] = algorithm;
}

std::string GemmTable::text() const {
  std::ostringstream lines;
  lines << kTitle << '\n' << device_ << '\n';
  for (const auto& [shape, algorithm] : algorithms_) write(lines, shape, algorithm);
  return lines.str() + last_line(lines.str());
}

void GemmTable::read(const std::string& text) {
  const std::size_t end = text.rfind("checksum ");
  const std::string lines = text.substr(0, end == std::string::npos ? 0 : end);
  CHECK(lines.starts_with(str(kTitle, "\n")) && text.substr(end) == last_line(lines),
        "is damaged, or no table of algorithms");
  std::istringstream in(lines);
  std::string line;
  std::getline(in, line);
  std::getline(in, line);
  CHECK(line == device_, "is of '", line, "', and this is '", device_, "'");
  std::map<GemmShape, GemmAlgorithm> more;
  while (std::getline(in, line)) {
    GemmShape shape;
    GemmAlgorithm algorithm{};
    CHECK(read_line(line, shape, algorithm), "has a line that is no algorithm: ", line);
    more[shape] = algorithm;
  }
  more.merge(algorithms_);  // keeps what is in `more`
  algorithms_ = std::move(more);
}

}  // namespace lacuna
