package device

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// staUnsync is STA_UNSYNC of adjtimex(2): nothing disciplines the clock.
const staUnsync = 0x40

// askSystem fills in what the kernel tells.
func (c *Clock) askSystem() {
	c.Uptime, c.Boot, c.Synced = uptime, bootID(), synced
}

// synced reports whether the kernel calls the clock synchronised.
func synced() bool {
	var t syscall.Timex
	if _, err := syscall.Adjtimex(&t); err != nil {
		return true // not known here: the floor alone decides
	}
	return t.Status&staUnsync == 0
}

// uptime reads /proc/uptime, which counts suspended time too, in hundredths of a second.
func uptime() time.Duration {
	raw, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), " ")
	s, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// bootID names this boot of the machine.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSpace(string(raw)), "-", "")
}
