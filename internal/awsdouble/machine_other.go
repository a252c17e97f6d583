//go:build !linux

package awsdouble

import "errors"

func (c *codebuild) command(*build, string, string) error {
	return errors.New("the double runs builds only on Linux")
}
