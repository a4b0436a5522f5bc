module github.com/bearergate/bearergate/test/compose

go 1.26.0

replace github.com/bearergate/bearergate => ../../

require github.com/bearergate/bearergate v0.0.0

require github.com/go-jose/go-jose/v4 v4.1.9 // indirect
