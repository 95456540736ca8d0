package floor

import (
	"fmt"
	"syscall"
	"time"
)

// Work is what was done and what it took.
type Work struct {
	N     int64         // frames, readings or rows
	Bytes int64         // written; 0 if none are
	Wall  time.Duration // of the measured part
	CPU   time.Duration // user and kernel time of the whole process meanwhile
}

// stopwatch adds up what passes between start and stop.
type stopwatch struct {
	wall, cpu time.Duration
	beganWall time.Time
	beganCPU  time.Duration
}

func (s *stopwatch) start() (err error) {
	s.beganCPU, err = usedCPU()
	s.beganWall = time.Now()
	return err
}

func (s *stopwatch) stop() error {
	s.wall += time.Since(s.beganWall)
	now, err := usedCPU()
	s.cpu += now - s.beganCPU
	return err
}

// usedCPU returns user and kernel time of this process.
func usedCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
