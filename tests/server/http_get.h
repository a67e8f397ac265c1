// One HTTP request over a socket of its own.
#ifndef PREFIXD_TESTS_SERVER_HTTP_GET_H_
#define PREFIXD_TESTS_SERVER_HTTP_GET_H_

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/numbers.h"

namespace prefixd::testing {

// Connects to a port of 127.0.0.1; -1 if nothing listens. Reads give up after 10 s.
inline int ConnectLoopback(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  timeval limit{.tv_sec = 10};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

// Everything that comes until the peer closes.
inline std::string ReadToEnd(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
    all.append(buffer, static_cast<size_t>(n));
  }
  return all;
}

struct HttpReply {
  int code = 0;  // 0: no answer.
  std::string headers, body;
};

// Sends `request` as it is.
inline HttpReply SendHttp(int port, const std::string& request) {
  HttpReply reply;
  const int fd = ConnectLoopback(port);
  if (fd < 0) return reply;
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) > 0) {
    const std::string all = ReadToEnd(fd);
    const size_t end = all.find("\r\n\r\n");
    reply.headers = all.substr(0, end);
    if (end != std::string::npos) reply.body = all.substr(end + 4);
    if (all.size() > 12) (void)absl::SimpleAtoi(all.substr(9, 3), &reply.code);
  }
  close(fd);
  return reply;
}

inline HttpReply HttpGet(int port, const std::string& path, const std::string& method = "GET") {
  return SendHttp(port, method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_HTTP_GET_H_
