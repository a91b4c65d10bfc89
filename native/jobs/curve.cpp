#include "jobs/curve.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <zlib.h>

#include "core/error.h"
#include "io/atomic_file.h"
#include "jobs/job.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t max_file = 256u << 20;  // bytes: ten million steps
constexpr std::string_view magic = "ZOCURVE1";
constexpr std::size_t header = 20;  // magic, points (u64), CRC-32 of what follows

double finite_or_nan(double value) {
    return std::isfinite(value) ? value : nan;
}

// Three doubles a point: step, loss, smoothed loss.
using Row = std::array<double, 3>;

std::uint32_t checksum(std::span<const std::byte> bytes) {
    return static_cast<std::uint32_t>(
        crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

void write_rows(const fs::path& file, const std::vector<Row>& rows) {
    const auto body = std::as_bytes(std::span(rows));
    std::array<std::byte, header> head{};
    const std::uint64_t points = rows.size();
    const std::uint32_t sum = checksum(body);
    std::memcpy(head.data(), magic.data(), 8);
    std::memcpy(head.data() + 8, &points, 8);
    std::memcpy(head.data() + 16, &sum, 4);
    const std::array<std::span<const std::byte>, 2> parts = {std::span<const std::byte>(head),
                                                             body};
    write_file_atomic(file, parts);
}

std::vector<Row> read_rows(const fs::path& file) {
    std::vector<std::byte> bytes;
    try {
        bytes = read_file(file, max_file);
    } catch (const Error&) {
        return {};
    }
    if (bytes.size() < header || std::memcmp(bytes.data(), magic.data(), 8) != 0) return {};
    std::uint64_t points = 0;
    std::uint32_t sum = 0;
    std::memcpy(&points, bytes.data() + 8, 8);
    std::memcpy(&sum, bytes.data() + 16, 4);
    const auto body = std::span(bytes).subspan(header);
    if (body.size() % sizeof(Row) != 0 || points != body.size() / sizeof(Row)) return {};
    if (checksum(body) != sum) return {};
    std::vector<Row> rows(points);
    std::memcpy(rows.data(), body.data(), body.size());
    // Steps count up from 0, whatever wrote the file.
    for (const Row& row : rows) {
        if (!(row[0] >= 0 && row[0] < 0x1p53)) return {};
    }
    return rows;
}

// Which of `count` points are shown; loss(i) of one.
template <class Loss>
std::vector<std::size_t> thinned(std::size_t count, std::size_t most, const Loss& loss) {
    std::vector<std::size_t> kept;
    if (count <= most) {
        for (std::size_t i = 0; i < count; ++i) kept.push_back(i);
        return kept;
    }
    const std::size_t inner = count - 2, stretches = (most - 2) / 2;
    kept.push_back(0);
    for (std::size_t part = 0; part < stretches; ++part) {
        const std::size_t first = 1 + part * inner / stretches;
        const std::size_t end = 1 + (part + 1) * inner / stretches;
        std::size_t low = end, high = end;
        for (std::size_t i = first; i < end; ++i) {
            if (!std::isfinite(loss(i))) continue;
            if (low == end || loss(i) < loss(low)) low = i;
            if (high == end || loss(i) > loss(high)) high = i;
        }
        if (low == end) {
            kept.push_back(first);
            continue;
        }
        kept.push_back(std::min(low, high));
        if (low != high) kept.push_back(std::max(low, high));
    }
    kept.push_back(count - 1);
    return kept;
}

}  // namespace

void Curve::add_step(const CurvePoint& point) {
    while (!steps_.empty() && steps_.back().step >= point.step) steps_.pop_back();
    steps_.push_back({point.step, finite_or_nan(point.loss), finite_or_nan(point.smooth_loss)});
}

void Curve::add_validation(const ValidationPoint& point) {
    while (!validations_.empty() && validations_.back().step >= point.step) {
        validations_.pop_back();
    }
    validations_.push_back({point.step, finite_or_nan(point.loss)});
}

void Curve::cut(std::int64_t last_step) {
    std::erase_if(steps_, [&](const CurvePoint& point) { return point.step > last_step; });
    std::erase_if(validations_,
                  [&](const ValidationPoint& point) { return point.step > last_step; });
}

Curve Curve::read(const fs::path& folder) {
    Curve curve;
    for (const Row& row : read_rows(folder / "curve.bin")) {
        curve.add_step({static_cast<std::int64_t>(row[0]), row[1], row[2]});
    }
    for (const Row& row : read_rows(folder / "validations.bin")) {
        curve.add_validation({static_cast<std::int64_t>(row[0]), row[1]});
    }
    return curve;
}

void Curve::write(const fs::path& folder) const {
    std::vector<Row> rows;
    for (const CurvePoint& point : steps_) {
        rows.push_back({static_cast<double>(point.step), point.loss, point.smooth_loss});
    }
    write_rows(folder / "curve.bin", rows);
    rows.clear();
    for (const ValidationPoint& point : validations_) {
        rows.push_back({static_cast<double>(point.step), point.loss, nan});
    }
    write_rows(folder / "validations.bin", rows);
}

json to_json(std::span<const CurvePoint> points, std::size_t most) {
    json all = json::array();
    for (const std::size_t i :
         thinned(points.size(), most, [&](std::size_t at) { return points[at].loss; })) {
        const CurvePoint& point = points[i];
        all.push_back({point.step, number_or_null(point.loss), number_or_null(point.smooth_loss)});
    }
    return all;
}

json to_json(std::span<const ValidationPoint> points, std::size_t most) {
    json all = json::array();
    for (const std::size_t i :
         thinned(points.size(), most, [&](std::size_t at) { return points[at].loss; })) {
        all.push_back({points[i].step, number_or_null(points[i].loss)});
    }
    return all;
}

}  // namespace zoodip
