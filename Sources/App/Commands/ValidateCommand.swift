import ArgumentParser
import ResourceModel

struct ValidateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Check the specs; nothing is contacted.",
        discussion: "Every mistake is reported as FILE:LINE:COLUMN with how to mend it. Exit status: 0, or 1 where there is a mistake."
    )

    @Argument(help: "A folder of YAML files, or one file.")
    var source = Source.defaultPath

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        // The context is a matter of the machine that plans; specs that leave it open are valid.
        let desired = try Source.load(source, contextIsGiven: true, terminal: terminal)
        for note in desired.notes { terminal.writeError("note: \(note)\n") }
        let hosts = desired.targets.count { if case .host = $0 { true } else { false } }
        let clusters = desired.targets.count - hosts
        terminal.write(
            "\(source): valid. \(count(hosts, "host")), \(count(clusters, "cluster")), \(count(desired.resources.count, "resource")).\n"
        )
    }

    private func count(_ number: Int, _ word: String) -> String { number == 1 ? "1 \(word)" : "\(number) \(word)s" }
}
