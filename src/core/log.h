#pragma once
#include <string>

namespace lacuna {

/// Lines for people, on standard error so that results on standard output can be piped. The rank is
/// prefixed when there are several; ranks other than 0 stay silent but for warnings. What a line
/// quotes of files and names is made printable(): it cannot give a terminal commands.
void set_log_rank(int rank, int ranks);
void log_info(const std::string& line);
void log_warning(const std::string& line);
/// "lacuna: message", why the program ends. From any rank.
void log_error(const std::string& message);

/// Whether standard error is a terminal: progress is redrawn in place there, else printed as lines.
bool log_is_terminal();

/// Replaces the last progress line on a terminal; elsewhere prints nothing. log_info and
/// log_warning end it first. `log_progress("")` clears it.
void log_progress(const std::string& line);

}  // namespace lacuna
