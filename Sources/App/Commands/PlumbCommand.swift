package import ArgumentParser

/// The command `plumb`.
package struct PlumbCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "plumb",
        abstract: "Keeps a Kubernetes cluster and the hosts under it true to YAML specs.",
        discussion: """
            'plumb plan' shows every difference between the specs and what is live, and changes nothing.
            'plumb apply' shows the same, asks, and ends the differences.

            SOURCE is a folder of YAML files (default: state) or one file.
            """,
        version: PlumbCommand.version,
        subcommands: [ValidateCommand.self, PlanCommand.self, ApplyCommand.self]
    )

    /// As in CHANGELOG.md.
    package static let version = "0.1.0"

    package init() {}
}
