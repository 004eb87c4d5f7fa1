import ArgumentParser
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

            A plan kept with --out FILE.json is what 'plumb apply FILE.json' compares with: it runs what it would do anyway and what was planned, and
            nothing else. The file holds no sensitive value, but whoever can read it can try guesses on their keyed hashes: it is yours alone (0600).
            """
    )

    @Argument(help: "A folder of YAML files, one file, or a git URL.")
    var source = Source.defaultPath

    @Option(help: ArgumentHelp("text, json or markdown.", valueName: "format"))
    var output = Format.text

    @Option(help: ArgumentHelp("Write the plan to this file as JSON as well (mode 0600), for 'plumb apply FILE.json'.", valueName: "file"))
    var out: String?

    @Flag(name: .customLong("detailed-exitcode"), help: "Exit with 2 where something differs.")
    var detailedExitCode = false

    @OptionGroup var options: SharedOptions

    func validate() throws {
        try options.git.check(source)
        if let out, !PlanFile.isNamed(out) {
            throw ValidationError("--out needs a name that ends in .json, not '\(out)': that is how 'plumb apply' knows a plan from specs.")
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let session = try await Session(source: source, selection: options.selection, options: options, terminal: terminal)
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
