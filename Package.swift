// swift-tools-version: 6.2
import PackageDescription

// Rooms are folders; what a target may import is in README.md, and `swift build --explicit-target-dependency-import-check error` holds us to it.

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),  // SE-0335
    .enableUpcomingFeature("MemberImportVisibility"),  // SE-0444
    .enableUpcomingFeature("InternalImportsByDefault"),  // SE-0409
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),  // SE-0461
    .treatAllWarnings(as: .error),
]

func room(_ room: String, _ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(room)/\(name)", swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, path: "Tests/\(name)", resources: resources, swiftSettings: settings)
}

let package = Package(
    name: "plumb",
    products: [.executable(name: "plumb", targets: ["plumb"]), .executable(name: "Benchmarks", targets: ["Benchmarks"])],
    dependencies: [
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.0.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.20.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        // Bindings: C headers.
        .systemLibrary(name: "CLibYAML", path: "Sources/Bindings/CLibYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "CLibGit2", path: "Sources/Bindings/CLibGit2", pkgConfig: "libgit2", providers: [.apt(["libgit2-dev"])]),
        .systemLibrary(name: "CLibSSH2", path: "Sources/Bindings/CLibSSH2", pkgConfig: "libssh2", providers: [.apt(["libssh2-1-dev"])]),

        // Formats: text and values, no input or output.
        room("Formats", "Values"),
        room("Formats", "YAML", ["CLibYAML", "Values"]),
        room("Formats", "PathPatterns"),

        // Drivers: the world, without the engine's types.
        room("Drivers", "SpecSources", ["PathPatterns", .product(name: "Crypto", package: "swift-crypto")]),
        room(
            "Drivers",
            "SSH",
            [
                "CLibSSH2",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "Subprocess", package: "swift-subprocess"),
            ]
        ),
        room("Drivers", "Hosts", ["SSH", .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio")]),
        room(
            "Drivers",
            "Git",
            [
                "CLibGit2", "SSH", "SpecSources", .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "Subprocess", package: "swift-subprocess"),
            ]
        ),
        room(
            "Drivers",
            "Forge",
            [
                "SpecSources", "Values",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        room("Drivers", "KubernetesAPI", ["Values"]),
        room(
            "Drivers",
            "Kubernetes",
            [
                "KubernetesAPI", "Values", "YAML",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ]
        ),

        room("Drivers", "Stores", ["Values", .product(name: "GRDB", package: "GRDB.swift")]),

        // Engine: no socket, file, process or wall clock.
        room("Engine", "ResourceModel", ["Values", "YAML"]),
        room("Engine", "SpecLoading", ["PathPatterns", "ResourceModel", "Values", "YAML"]),
        room("Engine", "Observing", ["ResourceModel"]),
        room("Engine", "DriftDetection", ["ResourceModel", "Values", "YAML"]),
        room(
            "Engine",
            "Planning",
            [
                "DriftDetection", "ResourceModel", "Values",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "HeapModule", package: "swift-collections"),
            ]
        ),
        room("Engine", "Applying", ["DriftDetection", "Observing", "Planning", "ResourceModel"]),
        room("Engine", "Reconciling", ["DriftDetection", "Observing", "Planning", "ResourceModel"]),
        room("Engine", "Reporting", ["Applying", "Planning", "ResourceModel", "Values", "YAML"]),

        // Kinds: what they need of the world comes in as facts and goes out as steps; objects of a cluster are asked for through the API driver.
        room("Kinds", "HostKinds", ["ResourceModel", "Values", "YAML"]),
        room("Kinds", "ClusterKinds", ["KubernetesAPI", "ResourceModel", "Values", "YAML"]),

        // App: where drivers and engine meet.
        room(
            "App",
            "Controller",
            [
                "Applying", "DriftDetection", "Forge", "Observing", "PathPatterns", "Planning", "Reconciling", "Reporting", "ResourceModel", "Values",
                "YAML",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "HummingbirdTLS", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        room(
            "App",
            "Commands",
            [
                "Applying", "ClusterKinds", "Controller", "DriftDetection", "Forge", "Git", "HostKinds", "Hosts", "Kubernetes", "KubernetesAPI",
                "Observing", "Planning",
                "Reconciling", "Reporting", "ResourceModel", "SpecLoading", "SpecSources", "Stores", "Values", "YAML",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ]
        ),
        .executableTarget(name: "plumb", dependencies: ["Commands"], path: "Sources/App/plumb", swiftSettings: settings),

        // In this package, since it measures what only this package can see.
        .executableTarget(
            name: "Benchmarks",
            dependencies: [
                "ClusterKinds", "Controller", "DriftDetection", "Forge", "HostKinds", "Kubernetes", "KubernetesAPI", "Planning", "Reconciling",
                "ResourceModel", "SpecLoading", "Values", "YAML",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "Tests/Benchmarks",
            exclude: ["run", "README.md", "controller", "reports", "kopf-operator.py"],
            swiftSettings: settings
        ),
        // Does to the built plumb what the world does, inside a lab.
        .executableTarget(
            name: "Faults",
            dependencies: ["Values", "plumb"],
            path: "Tests/Faults",
            exclude: ["api-proxy", "relay", "wire", "run", "README.md"],
            swiftSettings: settings
        ),
        // Writes a journal until it is killed; StoresTests kills it.
        .executableTarget(name: "JournalWriter", dependencies: ["Stores", "Values"], path: "Tests/JournalWriter", swiftSettings: settings),
        // Takes part in an election until it is killed; KubernetesTests kills it.
        .executableTarget(name: "Elector", dependencies: ["Kubernetes", "KubernetesAPI"], path: "Tests/Elector", swiftSettings: settings),
        tests("StoresTests", ["JournalWriter", "Stores", "Values", .product(name: "GRDB", package: "GRDB.swift")]),
        tests("FormatsTests", ["PathPatterns", "Values", "YAML"]),
        tests(
            "SpecLoadingTests",
            ["ClusterKinds", "HostKinds", "PathPatterns", "ResourceModel", "SpecLoading", "SpecSources", "Values", "YAML"],
            resources: [.copy("Cases")]
        ),
        tests(
            "SSHTests",
            [
                "SSH",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
        tests(
            "GitTests",
            [
                "Git", "SSH", "SpecSources", "plumb", .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Subprocess", package: "swift-subprocess"),
            ],
            resources: [.copy("git-server")]
        ),
        tests(
            "ForgeTests",
            [
                "Forge", "Values",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        tests(
            "ControllerTests",
            [
                "Applying", "Controller", "DriftDetection", "Forge", "Observing", "Planning", "Reconciling", "Reporting", "ResourceModel", "Values",
                "YAML",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ]
        ),
        tests("HostsTests", ["HostKinds", "Hosts", "ResourceModel", "SSH"]),
        tests(
            "KubernetesTests",
            [
                "Elector", "Kubernetes", "KubernetesAPI", "Values", "YAML",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Subprocess", package: "swift-subprocess"),
            ]
        ),
        tests(
            "ClusterKindsTests",
            [
                "Applying", "ClusterKinds", "DriftDetection", "Kubernetes", "KubernetesAPI", "Observing", "Planning", "Reconciling", "ResourceModel",
                "SpecLoading", "Values", "YAML",
            ],
            resources: [.copy("Cases")]
        ),
        tests(
            "CommandTests",
            [
                "Commands", "Controller", "Forge", "Reporting", "ResourceModel", "Values", "YAML", "plumb",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Subprocess", package: "swift-subprocess"),
            ]
        ),
        tests("ReportingTests", ["Applying", "Planning", "Reporting", "ResourceModel", "Values"], resources: [.copy("Golden")]),
        tests("EngineTests", ["Applying", "DriftDetection", "Observing", "Planning", "Reconciling", "Reporting", "ResourceModel", "Values", "YAML"]),
        tests(
            "SimulationTests",
            [
                "Applying", "DriftDetection", "Hosts", "Observing", "Planning", "Reconciling", "ResourceModel", "Values", "YAML",
                .product(name: "HeapModule", package: "swift-collections"),
            ]
        ),
        tests(
            "HostKindsTests",
            ["HostKinds", "ResourceModel", "Values", "YAML"],
            resources: [.copy("NetworkInterface"), .copy("IptablesChain"), .copy("OperatingSystem")]
        ),
    ]
)
