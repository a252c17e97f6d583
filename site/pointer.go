package site

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// maxState is the maximum size in bytes of a Layout's small JSON files.
const maxState = 64 << 10

// EncodePointer returns p as JSON.
func EncodePointer(p Pointer) ([]byte, error) { return json.Marshal(p) }

// ReadPointer reads the pointer in the file. The error is fs.ErrNotExist,
// wrapped, if there is no file.
func ReadPointer(file string) (Pointer, error) { return ReadState[Pointer](file) }

// ReadRecord reads the alias record in the file. The error is fs.ErrNotExist,
// wrapped, if there is no file.
func ReadRecord(file string) (Record, error) { return ReadState[Record](file) }

// ReadDistribution reads the edge's part of the distribution in the file. The
// error is fs.ErrNotExist, wrapped, if there is no file.
func ReadDistribution(file string) (DistributionFile, error) {
	return ReadState[DistributionFile](file)
}

// ReadState reads one of a Layout's small JSON files. The error is
// fs.ErrNotExist, wrapped, if there is no file.
func ReadState[T any](file string) (T, error) {
	var v T
	f, err := os.Open(file)
	if err != nil {
		return v, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("read %s: %w", file, err)
	}
	return v, nil
}
