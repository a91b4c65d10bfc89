// Names of models and pictures, and the ways out of the roots that there are not.
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "temporary_folder.h"

#include "server/http_error.h"
#include "server/roots.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class RootsTest : public ::testing::Test {
  protected:
    RootsTest() {
        write_model(folder / "models/b.safetensors");
        write_model(folder / "models/sub/a.safetensors");
        write_text(folder / "models/sub/notes.txt", "n");
        write_text(folder / "models/pipe/model_index.json", "{}");
        write_model(folder / "models/pipe/unet/weights.safetensors");
        write_model(folder / "models/.hidden/c.safetensors");
        write_model(folder / "models/.d.safetensors");
        write_model(folder / "more/b.safetensors");
        write_model(folder / "more/e.safetensors");
        write_text(folder / "images/dog/1.jpg", "1");
        write_text(folder / "images/1.jpg", "1");
        write_model(folder / "outside/secret.safetensors");
        write_model(folder / "models-too/x.safetensors");
    }
    Roots roots() const { return {{folder / "models", folder / "more"}, {folder / "images"}}; }
    int model_refusal(const std::string& name) const {
        return refusal([&] { roots().model(name); });
    }
    int images_refusal(const std::string& name) const {
        return refusal([&] { roots().images(name); });
    }
    template <class Ask>
    static int refusal(Ask&& ask) {
        try {
            ask();
            return 0;
        } catch (const HttpError& error) {
            return error.status();
        }
    }

    TemporaryFolder folder;
};

TEST_F(RootsTest, ListsCheckpointsAndDiffusersFolders) {
    EXPECT_EQ(roots().models(),
              Names({"b.safetensors", "e.safetensors", "pipe", "sub/a.safetensors"}));
    EXPECT_EQ(Roots({}, {}).models(), Names());
}

TEST_F(RootsTest, FindsEveryNameThatItLists) {
    for (const std::string& name : roots().models()) EXPECT_EQ(model_refusal(name), 0) << name;
    EXPECT_EQ(roots().model("sub/a.safetensors"), folder / "models/sub/a.safetensors");
    EXPECT_EQ(roots().model("pipe"), folder / "models/pipe");
    EXPECT_EQ(roots().model("e.safetensors"), folder / "more/e.safetensors");
    EXPECT_EQ(roots().images("dog"), folder / "images/dog");
}

TEST_F(RootsTest, TakesTheFirstRootThatHasIt) {
    EXPECT_EQ(roots().model("b.safetensors"), folder / "models/b.safetensors");
}

TEST_F(RootsTest, ListsNoFileThatIsNoCheckpoint) {
    write_model(folder / "models/classifier.safetensors", "classifier.weight");
    write_model(folder / "models/lora.safetensors", "lora_unet_x.lora_up.weight");
    write_model(folder / "models/vae.safetensors", "first_stage_model.decoder.conv_in.weight");
    write_text(folder / "models/damaged.safetensors", "not a model");
    write_text(folder / "models/empty.safetensors", "");
    EXPECT_EQ(roots().models(),
              Names({"b.safetensors", "e.safetensors", "pipe", "sub/a.safetensors"}));
}

TEST_F(RootsTest, RefusesWhatIsNoName) {
    const std::string outside = (folder / "outside/secret.safetensors").string();
    for (const std::string& name : {std::string(),
                                    std::string("/"),
                                    outside,
                                    std::string(".."),
                                    std::string("."),
                                    std::string("../outside/secret.safetensors"),
                                    std::string("sub/../../outside/secret.safetensors"),
                                    std::string("sub/../b.safetensors"),
                                    std::string("./b.safetensors"),
                                    std::string("sub//a.safetensors"),
                                    std::string("sub/"),
                                    std::string("/b.safetensors"),
                                    std::string(".d.safetensors"),
                                    std::string(".hidden/c.safetensors"),
                                    std::string("sub/.x"),
                                    std::string("..\\outside"),
                                    std::string("C:b.safetensors"),
                                    std::string("a\nb"),
                                    std::string("b.safetensors\0", 14),
                                    std::string("a\x7f"),
                                    std::string(1025, 'a')}) {
        EXPECT_EQ(model_refusal(name), 422) << name;
        EXPECT_EQ(images_refusal(name), 422) << name;
    }
}

TEST_F(RootsTest, DoesNotFindWhatIsNotThere) {
    for (const std::string& name :
         {std::string("x.safetensors"), std::string("sub/x"), std::string("b.safetensors/x"),
          std::string("%2e%2e/outside"), std::string("x%2f..%2foutside"), std::string("~"),
          std::string("dog"), std::string(300, 'a')}) {
        EXPECT_EQ(model_refusal(name), 404) << name;
    }
    for (const char* name : {"1.jpg", "dog/1.jpg", "cat", "b.safetensors"}) {
        EXPECT_EQ(images_refusal(name), 404) << name;
    }
}

// Who owns a folder makes its links, and ComfyUI lists what they lead to.
TEST_F(RootsTest, FollowsLinksWhereverTheyLead) {
    const fs::path models = folder / "models";
    fs::create_symlink(models / "sub/a.safetensors", models / "within.safetensors");
    fs::create_directory_symlink(models / "pipe", models / "pipe-link");
    fs::create_symlink(folder / "outside/secret.safetensors", models / "out.safetensors");
    fs::create_directory_symlink(folder / "models-too", models / "too");
    fs::create_symlink("../outside/secret.safetensors", models / "relative.safetensors");
    fs::create_symlink("nowhere", models / "broken.safetensors");
    fs::create_symlink("loop.safetensors", models / "loop.safetensors");
    fs::create_symlink("/dev/zero", models / "device.safetensors");
    fs::create_directory_symlink(folder / "outside", folder / "images/out");
    EXPECT_EQ(roots().models(), Names({"b.safetensors", "e.safetensors", "out.safetensors", "pipe",
                                       "pipe-link", "relative.safetensors", "sub/a.safetensors",
                                       "too/x.safetensors", "within.safetensors"}));
    EXPECT_EQ(roots().model("within.safetensors"), models / "sub/a.safetensors");
    EXPECT_EQ(roots().model("pipe-link"), models / "pipe");
    EXPECT_EQ(roots().model("too/x.safetensors"), folder / "models-too/x.safetensors");
    EXPECT_EQ(roots().images("out"), folder / "outside");
    for (const char* name : {"broken.safetensors", "loop.safetensors", "device.safetensors"}) {
        EXPECT_EQ(model_refusal(name), 404) << name;
    }
    EXPECT_EQ(model_refusal("too/../b.safetensors"), 422);  // a name itself leads nowhere
    EXPECT_EQ(images_refusal("out/.."), 422);
}

TEST_F(RootsTest, GoesRoundNoLoop) {
    fs::create_directory_symlink(folder / "models", folder / "models/sub/top");
    fs::create_directory_symlink(folder / "models/sub", folder / "models/sub/self");
    EXPECT_EQ(roots().models(),
              Names({"b.safetensors", "e.safetensors", "pipe", "sub/a.safetensors"}));
}

TEST_F(RootsTest, MayBeLinksThemselves) {
    fs::create_directory_symlink(folder / "models", folder / "link");
    const Roots linked({folder / "link"}, {});
    EXPECT_EQ(linked.models(), Names({"b.safetensors", "pipe", "sub/a.safetensors"}));
    EXPECT_EQ(linked.model("b.safetensors"), folder / "models/b.safetensors");
}

TEST_F(RootsTest, LooksNoDeeperThanItMay) {
    write_model(folder / "models/1/2/3/near.safetensors");
    write_model(folder / "models/1/2/3/4/far.safetensors");
    const auto names = roots().models();
    EXPECT_NE(std::find(names.begin(), names.end(), "1/2/3/near.safetensors"), names.end());
    EXPECT_EQ(std::find(names.begin(), names.end(), "1/2/3/4/far.safetensors"), names.end());
    EXPECT_EQ(model_refusal("1/2/3/4/far.safetensors"), 0);
}

TEST_F(RootsTest, NeedsItsFolders) {
    EXPECT_THROW(Roots({folder / "missing"}, {}), Error);
    EXPECT_THROW(Roots({}, {folder / "images/1.jpg"}), Error);
}

}  // namespace
}  // namespace zoodip
