// Giving way to other programs.
#pragma once

namespace zoodip {

// Lowers the priority of every thread that this process has, and of those that they start: while
// other programs want the processor it takes what they leave, otherwise all. Says whether the
// system did so; it cannot be taken back.
bool give_way() noexcept;

// Whether somebody may be working on a screen of this machine: an X or Wayland display is there.
// Always so on Windows and macOS.
bool serves_a_desktop() noexcept;

}  // namespace zoodip
