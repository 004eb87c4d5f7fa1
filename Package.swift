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
    products: [],
    dependencies: [
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    ],
    targets: [
        // Bindings: C headers.
        .systemLibrary(name: "CLibYAML", path: "Sources/Bindings/CLibYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),

        // Formats: text and values, no input or output.
        room("Formats", "Values"),
        room("Formats", "YAML", ["CLibYAML", "Values"]),

        room("Formats", "PathPatterns"),

        // Drivers: the world, without the engine's types.
        room("Drivers", "KubernetesAPI", ["Values"]),
        room("Drivers", "SpecSources", ["PathPatterns", .product(name: "Crypto", package: "swift-crypto")]),

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
        room("Engine", "Reporting", ["Applying", "Planning", "ResourceModel", "Values"]),

        // Kinds: pure as well; what they need of the world comes in as facts and goes out as steps.
        room("Kinds", "HostKinds", ["ResourceModel", "Values", "YAML"]),

        tests("EngineTests", ["Applying", "DriftDetection", "Observing", "Planning", "Reconciling", "Reporting", "ResourceModel", "Values", "YAML"]),
        tests(
            "HostKindsTests",
            ["HostKinds", "ResourceModel", "Values", "YAML"],
            resources: [.copy("NetworkInterface"), .copy("IptablesChain"), .copy("OperatingSystem")]
        ),
    ]
)
