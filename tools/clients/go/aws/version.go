package main

import "runtime/debug"

// goModuleVersion is the version of the S3 client this program was built with.
func goModuleVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/aws/aws-sdk-go-v2/service/s3" {
			return module.Version
		}
	}
	return "unknown"
}
