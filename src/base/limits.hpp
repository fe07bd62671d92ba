#pragma once
// Every bound on what a peer, a file or the network can make us hold, wait for or count, in one place. Tests hold them, most by what
// comes of them: accepted at the limit, refused one beyond.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace p2p::limits {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Text and addresses
inline constexpr std::size_t base_text = 128;        // characters of a base58/32/36 text; decoding costs the square of it
inline constexpr std::size_t multiaddr_text = 1024;  // characters
inline constexpr std::size_t multiaddr_bytes = 512;  // bytes
inline constexpr std::size_t multiaddr_parts = 16;   // protocols in one address
inline constexpr std::size_t public_key = 1200;      // bytes of a PublicKey protobuf; RSA-8192 takes 1,062

// Multistream-select
inline constexpr std::size_t multistream_message = 1024;  // bytes with the newline, as go and js have it
inline constexpr std::size_t multistream_proposals = 64;  // proposals in one negotiation

// Noise
inline constexpr std::size_t noise_frame = 65535;  // bytes behind the 2-byte length
inline constexpr std::size_t noise_plaintext = noise_frame - 16;
// Plaintext bytes that we put into one record: it fits the cache, is a multiple of the 128 that Poly1305 takes fastest, and two such frames
// fit into the 64 KiB, headers included, that the kernel hands to a device at once. It makes a packet of its own of the few bytes beyond.
inline constexpr std::size_t noise_write = 32 * 1024 - 128;
inline constexpr std::size_t noise_muxers = 100;  // entries of an early-muxer list that are looked at
inline constexpr std::size_t noise_proofs = 64;   // of identity that held and need no second check

// Muxers
inline constexpr std::uint32_t yamux_initial_window = 256 * 1024;    // bytes; fixed by the protocol
inline constexpr std::uint32_t yamux_max_window = 16 * 1024 * 1024;  // bytes a stream may grow to
inline constexpr std::size_t connection_window =
    64 * 1024 * 1024;                                       // bytes of receive window beyond the initial ones, all streams of a connection
inline constexpr std::size_t mplex_frame = 1024 * 1024;     // bytes of data in a frame
inline constexpr std::size_t mux_write = noise_write - 12;  // bytes of data in a frame of ours, which with yamux's header fills a record
inline constexpr std::size_t stream_write = 2 * mux_write;  // bytes that a stream gives its connection at a time
inline constexpr std::size_t mplex_buffer = 1024 * 1024;    // bytes a stream may leave unread before the connection stops reading
inline constexpr seconds mplex_unread{3};  // for the reader of such a stream, which is then reset: before the peer takes us for dead
inline constexpr std::size_t streams_inbound = 256;        // open streams of a connection that the peer opened
inline constexpr std::size_t streams_outbound = 256;       // open streams of a connection that we opened; one place is for pings
inline constexpr std::size_t control_frames = 256 * 1024;  // bytes of answers to frames, owed to a peer that does not read them

// Connections
// Bytes of frames waiting for the socket, four full ones: writers wait above it.
inline constexpr std::size_t write_buffer = 4 * (2 + noise_write + 16);
inline constexpr seconds handshake{10};                         // from accept, or from TCP's connect, to a muxed connection
inline constexpr seconds negotiation{10};                       // of a stream's protocol
inline constexpr std::size_t negotiating_streams = 128;         // inbound streams of a connection whose protocol is not agreed on yet
inline constexpr seconds write_wait{30};                        // for a peer to take what is written to its connection
inline constexpr std::size_t pending_handshakes = 256;          // inbound, in all
inline constexpr std::size_t pending_handshakes_address = 128;  // inbound, from one address
inline constexpr milliseconds accept_pause{100};                // when no connection can be accepted, for want of descriptors
inline constexpr seconds accept_told{60};                       // from one line of the log about that to the next
inline constexpr milliseconds handshake_pace{2};                // between two that one address begins while others are here
inline constexpr int handshake_burst = 32;                      // that such an address begins at once
inline constexpr int handshake_dear = 4;         // how many one counts for that fails, or whose proof of identity takes long to check
inline constexpr std::size_t connections = 256;  // inbound and outbound, in all, unless told otherwise
inline constexpr std::size_t connections_address = 128;  // inbound, from one address, unless told otherwise: leaves places for others
inline constexpr seconds dial{5};                        // TCP connect to one address
inline constexpr std::size_t dial_addresses = 8;         // addresses of one peer that are tried; of one that discovery found, at once
inline constexpr int hearsay_burst = 16;                 // dials at once to one host, of addresses that only others named
inline constexpr milliseconds hearsay_pace{100};         // and then from one to the next
inline constexpr seconds alive_in_use{1};                // of silence, then a peer that has streams open is pinged
inline constexpr seconds alive_idle{15};                 // the same for one that has none
inline constexpr seconds alive_answer{4};                // of silence behind such a ping, then the peer is gone
inline constexpr seconds record{10};                     // from a record's first byte to its last; the largest takes it at 52 kbit/s
inline constexpr seconds close_flush{2};                 // for what is still to be written when a connection is closed in good order
inline constexpr milliseconds lazy_write{20};            // until what nothing hangs on is written by itself

// Memory
inline constexpr std::size_t memory = 256 * 1024 * 1024;         // bytes in all, unless told otherwise
inline constexpr std::size_t memory_least = 128 * 1024 * 1024;   // bytes, with which all of it holds when each limit is reached at once
inline constexpr std::size_t memory_besides = 32 * 1024 * 1024;  // bytes that no share counts: pending handshakes, results that are kept
/// For connections, and as much for tasks; the rest is for the work on both. Nothing of what is needed besides.
constexpr std::size_t memory_share(std::size_t all) { return (all - std::min(all, memory_besides)) / 7 * 3; }
static_assert(memory_share(memory_besides - 1) == 0);
inline constexpr std::size_t connection_memory = 16 * 1024;  // bytes that a connection counts for, whatever happens on it
/// What an agent with so many connections has, unless told otherwise: enough for half of their share to be left when all are there.
constexpr std::size_t memory_for(std::size_t most_connections) {
  return std::max(memory, memory_besides + 2 * connection_memory * most_connections / 3 * 7);
}
inline constexpr std::size_t stream_memory = 4 * 1024;  // bytes that a stream counts for, besides what it holds
inline constexpr std::size_t stream_kept = 16 * 1024;   // bytes of a buffer that a stream keeps while it has nothing to read

// Identify and ping
inline constexpr std::size_t identify_message = 8 * 1024;  // bytes of one message
inline constexpr std::size_t identify_messages = 10;       // messages of one answer
inline constexpr seconds identify_wait{5};
inline constexpr std::size_t identify_own_addresses = 16;  // that we name: rust reads 4,096 bytes, and each stands there twice
inline constexpr seconds interfaces_fresh{1};              // between two looks at our own addresses
inline constexpr std::size_t identify_protocols = 256;
inline constexpr std::size_t identify_addresses = 64;
inline constexpr std::size_t protocol_name = 256;  // bytes
inline constexpr std::size_t agent_version = 256;  // bytes kept of a peer's agent version
inline constexpr seconds ping_wait{20};
inline constexpr seconds ping_stream{8};  // that a stream takes further pings: go and js end one after 10 s without any, go after 30 s
inline constexpr std::size_t ping_streams = 3;  // of a connection that the peer opened; the oldest makes room
inline constexpr seconds perf_time{300};        // for one measurement of libp2p's perf

// mDNS
inline constexpr std::size_t mdns_packet = 9000;      // bytes read; RFC 6762 section 17
inline constexpr std::size_t mdns_packet_out = 1400;  // bytes sent
inline constexpr std::size_t mdns_records = 256;      // records looked at in a packet
inline constexpr std::size_t mdns_packet_peers = 8;   // peers that one packet may name; all implementations name one
inline constexpr milliseconds mdns_pass{100};         // between two passes over all that is known, however often there is a reason for one
inline constexpr std::size_t mdns_addresses = 32;     // addresses kept of a peer
inline constexpr std::size_t mdns_peers = 1024;       // peers kept
inline constexpr seconds mdns_ttl{120};               // of what we announce
inline constexpr seconds mdns_ttl_max{3600};          // what we believe at most
inline constexpr seconds mdns_legacy_ttl{10};         // RFC 6762 section 6.7
inline constexpr seconds mdns_refresh_ttl{30};        // what holds for less is not asked for again before it ends
inline constexpr seconds mdns_query_interval{3600};   // between queries at most; RFC 6762 section 5.2
inline constexpr std::size_t mdns_wanted = 19;        // instances asked for singly, as many as fit into one packet
inline constexpr std::size_t mdns_unfinished = 16;    // sources of a link whose known answers go on in a further packet
inline constexpr seconds mdns_news{1};                // between two times that a peer is passed on as found
inline constexpr std::size_t search_peers = 64;       // asked at once by a search; each may take as many descriptors as dial_addresses
inline constexpr std::size_t search_peers_source = 16;  // of these, named by one source
inline constexpr std::size_t search_peers_prefix = 48;  // of these, named from one IPv6 /64, where one host may be any number of sources
inline constexpr std::size_t search_peers_first = 32;   // and so many more, each the only one of its source that is asked
inline constexpr seconds search_answer{2};              // for whoever is found last to connect and say what it executes
inline constexpr std::size_t search_waiting = 1024;     // that wait for their turn
inline constexpr milliseconds search_failure{
    250};  // that whoever answers nothing of use has a place for, so that others are dialled so often only
inline constexpr unsigned mdns_unicast_rate = 20;       // unicast answers to one source a second, and at once
inline constexpr std::size_t mdns_unicast_sources = 8;  // sources a second that get any; the others hear the group

// Tasks
inline constexpr std::size_t task_frame = 4 * 1024 * 1024;  // bytes behind the length varint
inline constexpr std::size_t info_frame = 64 * 1024;
inline constexpr std::size_t update_text = 64 * 1024;    // bytes of text in one update
inline constexpr std::size_t update_state = 64;          // bytes of its state
inline constexpr milliseconds position_pause{250};       // between two updates that only tell another place in the queue
inline constexpr std::size_t state_updates = 16 * 1024;  // updates of a task without text
inline constexpr std::size_t json_depth = 32;
inline constexpr std::size_t task_followers = 16;             // streams on which one task is asked for at once
inline constexpr std::size_t json_values = 256 * 1024;        // in one message; each takes more memory than text
inline constexpr std::size_t json_comparisons = 4096 * 4096;  // of names in one object at worst, 64 bytes each, in all of a message
inline constexpr std::size_t task_type = 64;                  // characters
inline constexpr std::uint64_t timeout_ms_max = 86'400'000;
inline constexpr std::uint64_t linger_ms_max = 60'000;
inline constexpr seconds task_wait{30};                // for the task on a stream opened for one
inline constexpr std::size_t envelope_margin = 1024;   // bytes that the envelope adds around a payload, at most
inline constexpr milliseconds deadline_patience{300};  // for an executor to end when a task's time is over, before that is said without it
inline constexpr seconds message_wait{30};             // for a requester to take a message that it asked for
inline constexpr seconds close_wait{10};               // for a peer to close its side of a stream that is answered
inline constexpr std::size_t timestamp = 64;           // characters of a message's: any fraction of a second that means something
inline constexpr seconds result_margin{1};             // that a requester waits beyond the time it said
inline constexpr std::size_t task_streams = 2048;      // task streams served at once, all connections
inline constexpr std::size_t pool_threshold = 64 * 1024;  // bytes of payload from which signatures are made and checked on the worker pool
inline constexpr std::size_t text_shown = 300;            // bytes of a peer's text repeated in a message of ours
inline constexpr std::size_t stranger_task = 64 * 1024;   // bytes of a frame that is read from a peer who may not ask, to answer it
inline constexpr std::size_t results_kept = 1024;         // finished tasks whose result is given again
inline constexpr std::size_t results_kept_bytes = 16 * 1024 * 1024;  // of their envelopes
inline constexpr seconds results_kept_for{600};
inline constexpr milliseconds retry_pause{200};             // before a task is sent again over a new connection; doubles each time
inline constexpr seconds retry_pause_max{5};                // where it stops doubling
inline constexpr milliseconds receipts_full_retry{60'000};  // what is told while there is no room for receipts
inline constexpr seconds receipts_look{10};                 // between looks whether there is some again
inline constexpr milliseconds linger_on_retry{10'000};      // that a requester asks for who may send its task again
inline constexpr std::size_t models_offered = 256;          // model names of one executor; what else it has is left out
inline constexpr std::size_t model_name = 256;              // bytes

// Executors
inline constexpr std::size_t command_output = 2 * 1024 * 1024;  // bytes of result text, unless told otherwise
inline constexpr seconds stop_patience{2};                      // from the request to stop to the end by force
inline constexpr std::size_t error_line = 4096;                 // bytes of a line of a command's standard error that are kept
inline constexpr std::size_t worker_line = task_frame;          // bytes of a line that a worker writes
inline constexpr seconds worker_load{600};                      // from its start, in which a worker may be silent behind a cancel
inline constexpr milliseconds worker_pause{100};                // before a worker that died is started again; doubles each time
inline constexpr seconds worker_pause_max{30};                  // where it stops doubling
inline constexpr std::size_t http_head = 16 * 1024;             // bytes of an HTTP response's header
inline constexpr std::size_t http_body = 1024 * 1024;           // bytes of a body that is read as a whole
inline constexpr std::size_t event_line = 1024 * 1024;          // bytes of one server-sent event
inline constexpr std::size_t server_slots = 64;                 // tasks at once that a model server is believed to take
inline constexpr std::size_t look_ups = 32;        // of names at once, each with a thread that the system may keep for half a minute
inline constexpr seconds http_connect{5};          // to a TCP connection, TLS included
inline constexpr seconds http_answer{10};          // for an answer that no model has to think about
inline constexpr seconds models_fresh{10};         // between two looks at which models a server has
inline constexpr seconds models_fresh_missing{1};  // the same while the server is not there

// Logs
inline constexpr milliseconds log_pace{100};                // between two messages about peers
inline constexpr int log_burst = 200;                       // of them at once
inline constexpr milliseconds tasks_pace{10};               // between two tasks that a provider tells of
inline constexpr int tasks_burst = 10'000;                  // of them at once
inline constexpr int events_burst = 4000;                   // of what a provider tells of peers, as lines or events, at the same pace
inline constexpr std::size_t output_waiting = 1024 * 1024;  // bytes for a reader of standard output or standard error who does not read

// Files
inline constexpr std::size_t key_file = 4096;           // bytes
inline constexpr std::size_t allow_file = 1024 * 1024;  // bytes
inline constexpr std::size_t receipt_block = 4 * 1024;  // bytes of disk that a receipt is counted in, as file systems give it them

}  // namespace p2p::limits
