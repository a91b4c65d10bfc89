#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "pictures/picture_folder.h"

namespace zoodip {
namespace {

constexpr std::size_t names_shown = 3, groups_shown = 8;

std::string counted(std::size_t count, const char* what) {
    return concat(count, " ", what, count == 1 ? "" : "s");
}

struct Group {
    std::string why;
    std::vector<std::string> names;
};

// By reason, in the order in which the reasons first occur.
std::vector<Group> grouped(const std::vector<LeftOut>& left_out) {
    std::vector<Group> groups;
    for (const LeftOut& each : left_out) {
        const auto same = [&](const Group& group) { return group.why == each.why; };
        auto group = std::find_if(groups.begin(), groups.end(), same);
        if (group == groups.end()) group = groups.insert(groups.end(), {each.why, {}});
        group->names.push_back(each.name);
    }
    return groups;
}

std::string group_text(const Group& group) {
    const bool all = group.names.size() <= names_shown + 1;
    const std::size_t count = all ? group.names.size() : names_shown;
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + group.names[i];
    if (!all) text += concat(" and ", group.names.size() - count, " others");
    return group.why.empty() ? text : concat(text, " (", group.why, ")");
}

std::string left_out_text(const std::vector<LeftOut>& left_out) {
    const std::vector<Group> groups = grouped(left_out);
    std::string text;
    std::size_t more = 0;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (i < groups_shown) {
            text += (i > 0 ? ", " : "") + group_text(groups[i]);
        } else {
            more += groups[i].names.size();
        }
    }
    return more > 0 ? concat(text, " and ", more, " more") : text;
}

// "10_sks dog 5, 2_sks dog 1": how often the pictures of each folder are drawn.
std::string repeats_text(const std::vector<FolderPicture>& pictures) {
    std::map<std::string, std::int64_t> by_folder;
    for (const FolderPicture& picture : pictures) {
        const std::size_t slash = picture.name.find('/');
        const bool inside = slash != std::string::npos;
        by_folder[inside ? picture.name.substr(0, slash) : "beside them"] = picture.repeats;
    }
    std::string text;
    for (const auto& [folder, repeats] : by_folder) {
        text += concat(text.empty() ? "" : ", ", folder, " ", repeats);
    }
    return text;
}

}  // namespace

std::string to_text(const PictureFolder& folder) {
    const auto& pictures = folder.pictures;
    const auto count = [&](auto&& wanted) {
        return static_cast<std::size_t>(std::count_if(pictures.begin(), pictures.end(), wanted));
    };
    const auto captions = count([](const FolderPicture& each) { return !each.caption.empty(); });
    const auto by_name =
        count([](const FolderPicture& each) { return each.caption_is_folder_name; });
    std::string text =
        concat(counted(pictures.size(), "picture"), ", ", counted(captions, "caption"));
    if (by_name > 0) text += concat(" (", by_name, " by the name of the folder)");
    if (count([](const FolderPicture& each) { return each.repeats > 1; }) > 0) {
        text += concat("; drawn in proportion: ", repeats_text(pictures));
    }
    if (!folder.left_out.empty()) text += "; left out: " + left_out_text(folder.left_out);
    return text;
}

}  // namespace zoodip
