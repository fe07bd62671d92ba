#include "network/lookup.hpp"

#include "base/limits.hpp"

#include <netdb.h>
#include <sys/socket.h>
#include <atomic>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace p2p {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

boost::system::error_code error_of(int code) {
  switch (code) {
    case 0: return {};
    case EAI_AGAIN: return asio::error::host_not_found_try_again;
    case EAI_FAIL: return asio::error::no_recovery;
    case EAI_MEMORY: return asio::error::no_memory;
    case EAI_SYSTEM: return {errno, boost::system::system_category()};
    default: return asio::error::host_not_found;
  }
}

// One of the look-ups under way in this process, whether anybody still waits for it or not.
class UnderWay {
 public:
  UnderWay() : number_(++all_) {}
  ~UnderWay() { --all_; }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

  bool is_one_too_many() const noexcept { return number_ > limits::look_ups; }

 private:
  static inline std::atomic<std::size_t> all_ = 0;
  const std::size_t number_;
};

struct Found {
  boost::system::error_code error;
  std::vector<tcp::endpoint> endpoints;
};

Found look_up(const std::string& host, std::uint16_t port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  Found found{error_of(getaddrinfo(host.c_str(), nullptr, &wanted, &list)), {}};
  if (found.error) return found;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    tcp::endpoint endpoint;
    if (one->ai_addrlen > endpoint.capacity()) continue;
    std::memcpy(endpoint.data(), one->ai_addr, one->ai_addrlen);
    endpoint.resize(one->ai_addrlen);
    endpoint.port(port);
    found.endpoints.push_back(endpoint);
  }
  freeaddrinfo(list);
  return found;
}

}  // namespace

// What whoever waits has, on the loop.
struct Lookup::Course {
  explicit Course(const Loop& of) : loop(of), done(of) {}

  Loop loop;
  Event done;
  bool ended = false;
  Found found{asio::error::operation_aborted, {}};
};

// What the thread has. As long as there is a course, there is its loop: whoever waits cancels before the loop goes.
struct Lookup::Wanted {
  std::mutex mutex;
  std::shared_ptr<Course> course;
};

Lookup::Lookup(const Loop& loop) : course_(std::make_shared<Course>(loop)), wanted_(std::make_shared<Wanted>()) {
  wanted_->course = course_;
}

Lookup::~Lookup() { cancel(); }

Awaitable<std::vector<tcp::endpoint>> Lookup::resolve(std::string host, std::uint16_t port) {
  const std::shared_ptr<Course> course = course_;
  if (!course->ended) {
    auto under_way = std::make_unique<UnderWay>();
    if (under_way->is_one_too_many()) {
      throw boost::system::system_error(asio::error::host_not_found_try_again, "too many names are looked up");
    }
    auto work = [under_way = std::move(under_way), wanted = wanted_, host = std::move(host), port]() mutable {
      Found found = look_up(host, port);
      under_way.reset();  // before anybody learns of it, who may look for the next name
      const std::lock_guard lock(wanted->mutex);
      if (!wanted->course) return;
      asio::post(wanted->course->loop, [course = wanted->course, found = std::move(found)]() mutable {
        if (std::exchange(course->ended, true)) return;
        course->found = std::move(found);
        course->done.notify();
      });
    };
    try {
      std::thread(std::move(work)).detach();
    } catch (const std::system_error& error) {
      throw boost::system::system_error(error.code().value(), boost::system::system_category());
    }
  }
  while (!course->ended) co_await course->done.wait();
  if (course->found.error) throw boost::system::system_error(course->found.error);
  co_return std::move(course->found.endpoints);
}

void Lookup::cancel() {
  course_->ended = true;
  course_->done.notify();
  const std::lock_guard lock(wanted_->mutex);
  wanted_->course.reset();
}

}  // namespace p2p
