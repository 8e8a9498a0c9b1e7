#pragma once
#include <optional>
#include <string>

namespace lacuna {

/// The last number in a text, as people and models write numbers:
///   digits    of any script; ".5" as "0.5"; "3e5", "1.5 × 10^3", "1.5 \times 10^{3}"
///   sign      -, U+2212 and its like, also before a currency sign ("-$5", "-\$5"); not where it
///             joins two things ("10-5" and "COVID-19" end with 5 and 19)
///   groups    of three digits, "1,234,567" (of India: "12,34,567"), with , ' _ a no-break or thin
///             space, or LaTeX's {,} \, \! between them; "1.234.567" and "1.234,56" as in Europe
/// Currency signs, "%" and what else stands beside a number count for nothing.
std::optional<double> last_number(const std::string& text);

}  // namespace lacuna
