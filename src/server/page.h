#pragma once
#include <string_view>

#include "server/http.h"

namespace lacuna {

/// The files of src/server/page, which the build compiles into the program.
struct PageFile {
  std::string_view path, content_type, body;
};
/// The file at a path of the server ("/", "/page.css", "/page.js"), or null.
const PageFile* page_file(std::string_view path);
/// As a reply, with a policy that lets the page load nothing of other servers.
HttpReply page_reply(const PageFile& file);

}  // namespace lacuna
