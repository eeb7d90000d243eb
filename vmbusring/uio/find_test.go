package uio

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"loomstore/vmbusring/internal/fixture"
)

// TestFind reads every sysfs tree of the fixtures.
func TestFind(t *testing.T) {
	var cases []struct {
		Name, What, Instance string
		ClassID              string `json:"class_id"`
		Expect               struct {
			Error       string
			Dev         string
			Map0        int
			RingData    int `json:"ring_data"`
			InOffset    int `json:"in_offset"`
			Monitored   bool
			MonitorID   uint32  `json:"monitor_id"`
			RecvGPADL   *uint32 `json:"recv_gpadl"`
			SendGPADL   *uint32 `json:"send_gpadl"`
			Subchannels []uint32
		}
	}
	fixture.Load(t, "sysfs/manifest.json", &cases)
	errorsOf := map[string]error{
		"no uio device":          ErrNoDevice,
		"bad ring size":          ErrRingSize,
		"no ring map":            ErrNoRing,
		"not a vmbus uio device": ErrDriver,
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			root := filepath.Join(fixture.Dir(t), "sysfs", c.Name)
			if c.Name == "empty-uio" {
				root = withEmptyUIO(t, root, c.Instance)
			}
			d, err := Tree{Root: root, PageSize: 4096}.Find(c.Instance)
			want := c.Expect
			if want.Error != "" {
				if sentinel := errorsOf[want.Error]; sentinel == nil || !errors.Is(err, sentinel) {
					t.Fatalf("%v, expected %s", err, want.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d.Path != filepath.Join(root, want.Dev) || d.ClassID != c.ClassID {
				t.Errorf("path %s, class %s", d.Path, d.ClassID)
			}
			if d.Rings.Size() != want.Map0 || d.Rings.Data != want.RingData || d.Rings.InOffset() != want.InOffset {
				t.Errorf("rings: %+v", d.Rings)
			}
			if (d.Monitor != nil) != want.Monitored || d.Monitor != nil && *d.Monitor != want.MonitorID {
				t.Errorf("monitor: %v", d.Monitor)
			}
			if !same(d.RecvGPADL, want.RecvGPADL) || !same(d.SendGPADL, want.SendGPADL) {
				t.Errorf("buffers: %v, %v", d.RecvGPADL, d.SendGPADL)
			}
			var relids []uint32
			for _, s := range d.Subchannels {
				relids = append(relids, s.RelID)
			}
			if !slices.Equal(relids, want.Subchannels) {
				t.Errorf("subchannels: %v", relids)
			}
		})
	}
}

func same(a, b *uint32) bool { return a == b || a != nil && b != nil && *a == *b }

// withEmptyUIO copies a tree and adds the empty folder that git can not keep.
func withEmptyUIO(t *testing.T, root, instance string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "sys/bus/vmbus/devices", instance)
	if err := os.Chmod(device, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(device, "uio"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFindRefusesPaths(t *testing.T) {
	for _, instance := range []string{"", "../../../../etc", strings.Repeat("a", 36), "ed963694-e847-4b2a-85af-bc9cfc11d6f/"} {
		if _, err := (Tree{}).Find(instance); !errors.Is(err, ErrNoDevice) {
			t.Errorf("%q: %v", instance, err)
		}
	}
}
