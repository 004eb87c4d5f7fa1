import ArgumentParser
import Foundation
import Reporting
import Stores

struct HistoryCommand: AsyncParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case json
    }

    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Show what was changed, when, by whom, and how it went.",
        discussion: """
            Without RUN the newest runs, newest first; with the number of a run everything it was going to do and how each action ended.
            Exit status: 0, or 1 where the journal can't be read or has no such run.
            """
    )

    @Argument(help: "The number of a run.")
    var run: Int64?

    @Option(help: ArgumentHelp("text or json.", valueName: "format"))
    var output = Format.text

    @Option(help: ArgumentHelp("How many runs to show.", valueName: "n"))
    var limit = 20

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func validate() throws {
        guard (1...1_000_000).contains(limit) else { throw ValidationError("--limit must be from 1 to 1000000, not \(limit).") }
    }

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        do throws(StoreFailure) {
            let directory = DataDirectory(existing: try dataDirectory.requiredPath())
            let journal = try Journal.openForReading(in: directory)
            if let run {
                try await show(run, of: journal, in: directory, terminal: terminal)
            } else {
                let runs = try await journal?.runs(limit: limit) ?? []
                let report = HistoryReport(style: terminal.output)
                terminal.write(output == .json ? report.document(of: runs).prettyJSON : report.text(of: runs))
            }
        } catch {
            throw terminal.failed(error)
        }
    }

    private func show(_ id: Int64, of journal: Journal?, in directory: DataDirectory, terminal: Terminal) async throws(StoreFailure) {
        guard let journal, let run = try await journal.run(id) else {
            throw StoreFailure("there is no run \(id) in the journal of \(directory.path)", fix: "'plumb history' lists the runs there are.")
        }
        let actions = try await journal.actions(of: id)
        let report = HistoryReport(style: terminal.output)
        terminal.write(output == .json ? report.document(of: run, actions: actions).prettyJSON : report.text(of: run, actions: actions))
    }
}
