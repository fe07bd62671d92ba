#include "network/lookup.hpp"

namespace p2p {

using boost::asio::ip::tcp;

struct Lookup::Course {
  explicit Course(const Loop& loop) : resolver(loop), done(loop) {}

  tcp::resolver resolver;
  Event done;
  bool ended = false;
  boost::system::error_code error = boost::asio::error::operation_aborted;
  std::vector<tcp::endpoint> found;
};

Lookup::Lookup(const Loop& loop) : course_(std::make_shared<Course>(loop)) {}

Awaitable<std::vector<tcp::endpoint>> Lookup::resolve(std::string host, std::uint16_t port) {
  const std::shared_ptr<Course> course = course_;
  if (!course->ended) {
    course->resolver.async_resolve(host, std::to_string(port),
                                   [course](const boost::system::error_code& error, const tcp::resolver::results_type& found) {
                                     if (course->ended) return;
                                     course->ended = true;
                                     course->error = error;
                                     for (const auto& entry : found) course->found.push_back(entry.endpoint());
                                     course->done.notify();
                                   });
  }
  while (!course->ended) co_await course->done.wait();
  if (course->error) throw boost::system::system_error(course->error);
  co_return std::move(course->found);
}

void Lookup::cancel() {
  course_->ended = true;
  course_->resolver.cancel();  // if the system has not begun yet
  course_->done.notify();
}

}  // namespace p2p
