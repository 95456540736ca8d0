package main

import (
	"os"
	"os/exec"
	"testing"
)

// TestAgentsOfOtherMachinesEndToEnd runs the agents' own test, arm and arm64 under
// qemu among them, against a real gridloom: sim, spool, kill -9, publish, and the
// readings are asked for over REST.
func TestAgentsOfOtherMachinesEndToEnd(t *testing.T) {
	needPrograms(t, "qemu-user", "qemu-arm", "qemu-aarch64")
	s := newServer(t)
	s.start()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=4m", "-run=^TestAgentsOfOtherMachinesSurviveKill$", "./edge-agent")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GRIDLOOM_BROKER="+s.mqtt, "GRIDLOOM_QUERY=http://"+s.http)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
