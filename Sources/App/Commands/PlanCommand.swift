import ArgumentParser
import Foundation
import Planning
import Reporting
import ResourceModel

struct PlanCommand: AsyncParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case json
        case markdown
    }

    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Show what differs between the specs and what is live; changes nothing.",
        discussion: """
            Exit status: 0 done; 1 the specs are wrong or something could not be read; with --detailed-exitcode 2 where all was read and
            something differs.
            """
    )

    @Argument(help: "A folder of YAML files, or one file.")
    var source = Source.defaultPath

    @Option(help: ArgumentHelp("text, json or markdown.", valueName: "format"))
    var output = Format.text

    @Option(help: ArgumentHelp("Write the plan to this file as JSON as well (mode 0600).", valueName: "file"))
    var out: String?

    @Flag(name: .customLong("detailed-exitcode"), help: "Exit with 2 where something differs.")
    var detailedExitCode = false

    @OptionGroup var options: SharedOptions

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let session = try Session(source: source, options: options, terminal: terminal)
        let plan = await session.plan()
        await session.close()

        switch output {
        case .text: terminal.write(plan.text(style: terminal.output, showsSteps: options.verbose))
        case .json: terminal.write(plan.document.prettyJSON)
        case .markdown: terminal.write(plan.markdown)
        }
        if let out { try PlanFile.write(plan, to: out, terminal: terminal) }

        if plan.problems.contains(where: { $0.status.preventsReading }) { throw ExitCode(1) }
        if detailedExitCode, !plan.actions.isEmpty || !plan.problems.isEmpty { throw ExitCode(2) }
    }
}

enum PlanFile {
    /// Written beside its name and moved there, so that a reader finds the whole plan or none.
    static func write(_ plan: Plan, to path: String, terminal: Terminal) throws {
        let url = URL(fileURLWithPath: path)
        let draft = url.deletingLastPathComponent().appendingPathComponent(".\(url.lastPathComponent).\(ProcessInfo.processInfo.processIdentifier)")
        do {
            guard
                FileManager.default.createFile(
                    atPath: draft.path,
                    contents: Data(plan.document.prettyJSON.utf8),
                    attributes: [.posixPermissions: 0o600]
                )
            else { throw CocoaError(.fileWriteNoPermission) }
            guard rename(draft.path, url.path) == 0 else { throw CocoaError(.fileWriteUnknown) }
        } catch {
            try? FileManager.default.removeItem(at: draft)
            terminal.writeError("error: the plan can't be written to \(Escaping.shown(path)): \(Escaping.shown("\(error.localizedDescription)"))\n")
            throw ExitCode(1)
        }
    }
}
