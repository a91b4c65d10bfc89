#include "ranks/ranks.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/json.h"

namespace zoodip {
namespace {

constexpr std::uint32_t goes_on = 0;
constexpr double until_timed = 1800, at_least = 60, steps_of_patience = 100;  // seconds, steps
constexpr std::uint64_t most = std::uint64_t{64} << 20;  // bytes that a rank tells at once

constexpr const char* alike =
    ". Ranks need the same command line, files and versions, and processors of one kind";

struct Header {
    std::uint32_t status = 0, call = 0;
    std::uint64_t state = 0, count = 0;  // count: of the bytes told
};
constexpr std::size_t room = Ranks::frame - sizeof(Header);

std::string framed(const Header& header, std::string_view told) {
    std::string bytes(Ranks::frame, '\0');
    std::memcpy(bytes.data(), &header, sizeof header);
    if (told.size() <= room) told.copy(bytes.data() + sizeof header, told.size());
    return bytes;
}

std::string shortened(const std::string& value) {
    constexpr std::size_t enough = 80;
    return value.size() <= enough ? value : value.substr(0, enough) + "...";
}

nlohmann::json as_json(const Facts& facts) {
    auto all = nlohmann::json::array();
    for (const auto& [name, value] : facts) all.push_back({name, value});
    return all;
}

// Where a rank differs from rank 0, as "its mu is 0.1, not 0.01"; empty where it does not. Both are
// lists of [name, value].
std::string difference(const nlohmann::json& theirs, const nlohmann::json& first) {
    const auto is_fact = [](const nlohmann::json& fact) {
        return fact.is_array() && fact.size() == 2 && fact[0].is_string() && fact[1].is_string();
    };
    for (std::size_t i = 0; i < std::min(theirs.size(), first.size()); ++i) {
        if (theirs[i] == first[i]) continue;
        if (!is_fact(theirs[i]) || !is_fact(first[i])) return "it tells of itself in another form";
        const auto name = theirs[i][0].get<std::string>(), other = first[i][0].get<std::string>();
        if (name != other) return concat("it has ", name, " where rank 0 has ", other);
        return concat("its ", name, " is ", shortened(theirs[i][1].get<std::string>()), ", not ",
                      shortened(first[i][1].get<std::string>()));
    }
    if (theirs.size() == first.size()) return {};
    return concat("it tells ", theirs.size(), " things of itself, rank 0 ", first.size());
}

}  // namespace

struct Ranks::Frame {
    Header header;
    std::string told;
};

Ranks::Ranks(std::shared_ptr<Wire> wire, double limit) : wire_(std::move(wire)), limit_(limit) {}

double Ranks::limit() const {
    if (longest_step_ == 0) return until_timed;
    return limit_ > 0 ? limit_ : at_least + steps_of_patience * longest_step_;
}

void Ranks::time_step() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> took = now - last_step_;
    if (timed_) longest_step_ = std::max(longest_step_, took.count());
    timed_ = true;
    last_step_ = now;
}

template <class Transfer>
auto Ranks::on_wire(std::int64_t bytes, const Transfer& transfer) {
    require(!over_, "ranks: this rank has left the others");
    if (stepping_) bytes_ += bytes;
    try {
        return transfer();
    } catch (...) {
        over_ = true;
        throw;
    }
}

void Ranks::send(int to, std::string_view bytes) {
    on_wire(static_cast<std::int64_t>(bytes.size()), [&] { wire_->send(to, bytes, limit()); });
}

std::string Ranks::receive(int from, std::size_t count) {
    return on_wire(static_cast<std::int64_t>(count),
                   [&] { return wire_->receive(from, count, limit()); });
}

std::vector<Ranks::Frame> Ranks::exchange(std::uint32_t status, Call call, std::string_view mine,
                                          std::uint64_t state) {
    const auto all = [&](std::string_view bytes) {
        const auto count = static_cast<std::int64_t>(bytes.size());
        return on_wire(2 * (size() - 1) * count, [&] { return wire_->all_gather(bytes, limit()); });
    };
    const Header own{status, static_cast<std::uint32_t>(call), state, mine.size()};
    const std::string heads = all(framed(own, mine));
    std::vector<Frame> frames(static_cast<std::size_t>(size()));
    std::uint64_t longest = 0;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const char* at = heads.data() + i * frame;
        Header& header = frames[i].header;
        std::memcpy(&header, at, sizeof header);
        longest = std::max(longest, header.count);
        frames[i].told.assign(at + sizeof header, std::min<std::uint64_t>(header.count, room));
    }
    if (longest <= room) return frames;
    // Every rank has seen the same lengths, and does the same about them.
    if (longest > most) {
        over_ = true;
        fail("ranks: needs at most ", most, " bytes at once, got ", longest,
             ": something else than zoodip of this version answers");
    }
    std::string padded(longest, '\0');
    mine.copy(padded.data(), mine.size());
    const std::string rest = all(padded);
    for (std::size_t i = 0; i < frames.size(); ++i) {
        frames[i].told.assign(rest, i * longest, frames[i].header.count);
    }
    return frames;
}

// own: the status that this rank has told.
void Ranks::judge(const std::vector<Frame>& frames, std::uint32_t own) const {
    const auto failed = static_cast<std::uint32_t>(Departure::failed);
    for (int i = 0; i < size(); ++i) {
        const Frame& one = frames[static_cast<std::size_t>(i)];
        if (one.header.status < failed || (own >= failed && i == rank())) continue;
        fail(wire_->name_of(i), " has failed: ", one.told);
    }
    if (own != goes_on) return;
    for (const Frame& one : frames) {
        if (one.header.status != goes_on) throw Cancelled();
    }
    for (int i = 1; i < size(); ++i) {
        const Header &theirs = frames[static_cast<std::size_t>(i)].header,
                     &first = frames.front().header;
        require(theirs.call == first.call, wire_->name_of(i),
                " is at another place of the run than rank 0", alike);
        require(theirs.state == first.state, wire_->name_of(i),
                " has come to another word than rank 0", alike);
    }
}

std::vector<std::string> Ranks::gather(Call call, std::string_view mine, std::uint64_t state) {
    stepping_ = stepping_ || call == Call::step;
    std::vector<Frame> frames = exchange(goes_on, call, mine, state);
    try {
        judge(frames, goes_on);
    } catch (...) {
        over_ = true;  // the others have seen the same
        throw;
    }
    if (call == Call::step) time_step();
    std::vector<std::string> told;
    for (Frame& one : frames) told.push_back(std::move(one.told));
    return told;
}

std::string Ranks::share(std::string_view of_first) {
    const std::string length =
        gather(Call::share, is_first() ? std::to_string(of_first.size()) : std::string()).front();
    const std::uint64_t count = std::strtoull(length.c_str(), nullptr, 10);
    require(count <= most, "ranks: needs at most ", most, " bytes from rank 0, got ", count);
    std::string bytes = is_first() ? std::string(of_first) : receive(rank() - 1, count);
    if (rank() + 1 < size()) send(rank() + 1, bytes);
    return bytes;
}

void Ranks::compare(const Facts& mine) {
    const std::vector<std::string> all = gather(Call::compare, show_json(as_json(mine)));
    const nlohmann::json first = parse_json(all.front());
    for (int i = 1; i < size(); ++i) {
        const nlohmann::json theirs = parse_json(all[static_cast<std::size_t>(i)]);
        const std::string differs = difference(theirs, first);
        if (differs.empty()) continue;
        over_ = true;
        fail(wire_->name_of(i), " differs from rank 0: ", differs, alike);
    }
}

void Ranks::leave(Departure why, std::string_view message) {
    if (over_) return;
    const auto status = static_cast<std::uint32_t>(why);
    const std::vector<Frame> frames = exchange(status, Call::end, message.substr(0, 4096), 0);
    over_ = true;
    judge(frames, status);
}

// FNV-1a, by eight bytes at a time.
std::uint64_t quick_digest(std::string_view bytes) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, std::min<std::size_t>(8, bytes.size() - at));
        hash = (hash ^ word) * 0x100000001b3;
        hash ^= hash >> 32;
    }
    return hash;
}

}  // namespace zoodip
