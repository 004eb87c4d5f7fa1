package import ArgumentParser
import Glibc

/// The command `plumb`.
package struct PlumbCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "plumb",
        abstract: "Keeps a Kubernetes cluster and the hosts under it true to YAML specs.",
        discussion: """
            'plumb plan' shows every difference between the specs and what is live, and changes nothing.
            'plumb apply' shows the same, asks, and ends the differences.
            'plumb history' shows what was changed, when, by whom, and how it went.

            SOURCE is a folder of YAML files (default: state), one file, or a git URL.
            """,
        version: PlumbCommand.version,
        subcommands: [
            ValidateCommand.self, PlanCommand.self, ApplyCommand.self, HistoryCommand.self, ReleaseCommand.self, AcceptCommand.self,
            AdoptCommand.self, HostKeyCommand.self, UnlockCommand.self, RunCommand.self, StatusCommand.self, HookCommand.self, PauseCommand.self,
            ResumeCommand.self, ReportCommand.self,
            RBACCommand.self, SudoersCommand.self, ReadRepositoryCommand.self,
        ]
    )

    /// As in CHANGELOG.md.
    package static let version = "0.1.0"

    package init() {}

    /// Runs the command line of this process and ends it.
    package static func start() async {
        // A host or a reader that goes away is an error of the call that notices, never the end of the process.
        signal(SIGPIPE, SIG_IGN)
        await main()
    }
}
