#include "cli/commands.h"

int main(int argc, char** argv) {
    return zoodip::run_program(argc, argv);
}
