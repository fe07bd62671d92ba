// The library on one page, as the README shows it. Run it beside `p2p-agent serve`.

#include <p2p_agents/p2p_agents.hpp>

#include <iostream>

using namespace p2p;

int main() {
  System system;
  Agent agent(system.environment(), KeyPair::generate(system.random()), {.listen = everywhere(system.environment().transport)});
  agent.handle("/hello/1.0.0", [](Stream stream) -> Awaitable<void> {
    co_await stream.write(as_bytes("hello\n"));
    co_await stream.finish(std::chrono::seconds(5));
  });
  TaskManager tasks(agent);
  system.run(agent.run([&]() -> Awaitable<void> {  // from here on others find the agent; it stops when this ends
    const PeerId peer = co_await agent.next_discovered(agent.environment().clock.now() + std::chrono::seconds(5));
    co_await agent.connect(peer);
    const Answer answer = co_await tasks.submit(peer, tasks.make_task("Hello, P2P AI!"));
    std::cout << answer.result.text.value() << '\n';
  }));
}
