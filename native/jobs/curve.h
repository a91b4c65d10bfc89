// The losses of a job's steps and of its fixed samples: kept beside its record, thinned for a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

namespace zoodip {

// A loss that was not finite is NaN.
struct CurvePoint {
    std::int64_t step;
    double loss, smooth_loss;
};

struct ValidationPoint {
    std::int64_t step;
    double loss;
};

class Curve {
  public:
    // A step that was there already was gone back behind: it and those after it are dropped.
    void add_step(const CurvePoint& point);
    void add_validation(const ValidationPoint& point);
    // Drops what lies behind a step, which was lost and is done again.
    void cut(std::int64_t last_step);

    const std::vector<CurvePoint>& steps() const { return steps_; }
    const std::vector<ValidationPoint>& validations() const { return validations_; }

    // curve.bin and validations.bin in a job's folder. What is missing or damaged reads as empty:
    // the word is worth more than its curve. `write` throws Error.
    static Curve read(const std::filesystem::path& folder);
    void write(const std::filesystem::path& folder) const;

  private:
    std::vector<CurvePoint> steps_;
    std::vector<ValidationPoint> validations_;
};

// [[step, loss, smooth_loss], ...], [[step, loss], ...]; null for a loss that was not finite. At
// most so many: the first, the last, and from even stretches between them the lowest and the
// highest loss, so that no peak is lost.
inline constexpr std::size_t page_points = 1000, page_validations = 400;
nlohmann::json to_json(std::span<const CurvePoint> points, std::size_t most = page_points);
nlohmann::json to_json(std::span<const ValidationPoint> points,
                       std::size_t most = page_validations);

}  // namespace zoodip
