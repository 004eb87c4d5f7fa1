import Applying
import ArgumentParser
import Planning
import Reporting
import ResourceModel

struct ApplyCommand: AsyncParsableCommand {
    enum Format: String, ExpressibleByArgument, CaseIterable {
        case text
        case jsonl
    }

    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Plan, ask, and end the differences.",
        discussion: """
            Every action that does not depend on a problem is carried out, then observed again: only what is live as declared has succeeded.

            A plan that 'plumb plan --out FILE.json' wrote is never carried out from the file: its specs are read again, everything is observed and
            planned anew, and only actions that are the same in both are run. Others are stale; what is new is listed and left alone.

            Interrupted once, it finishes what is under way and says what is left; twice, it stops at once. Either way, apply again to go on.
            Exit status: 0 only when everything the specs declare is so at the end; else 1; 130 when interrupted twice.
            """
    )

    @Argument(help: "A folder of YAML files, one file, or a plan (*.json).")
    var source = Source.defaultPath

    @Flag(help: "Don't ask.")
    var yes = false

    @Option(
        name: .customLong("on-stale"),
        help: ArgumentHelp(
            "With a plan, where some of it is stale: stop, and run nothing, or skip what is stale (default: stop).",
            valueName: "policy"
        )
    )
    var onStale: StalePolicy?

    @Option(
        help: ArgumentHelp(
            "How long every changed object may take to be ready: 5s, 2m (default: not awaited, but where another one depends on it).",
            valueName: "duration"
        )
    )
    var wait: DurationArgument?

    @Option(help: ArgumentHelp("text or jsonl.", valueName: "format"))
    var output = Format.text

    @OptionGroup var budget: BudgetOptions

    @OptionGroup var options: SharedOptions

    func validate() throws {
        if PlanFile.isNamed(source) {
            guard options.targets.isEmpty else {
                throw ValidationError("--target can't be given with a plan: it holds what it was narrowed to. Plan again with --target.")
            }
        } else if onStale != nil {
            throw ValidationError("--on-stale needs a plan: only what was planned before can be stale.")
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let saved = PlanFile.isNamed(source) ? try PlanFile.read(source, terminal: terminal) : nil
        let session: Session
        if let saved {
            session = try Session(of: saved, options: options, terminal: terminal)
        } else {
            session = try Session(source: source, selection: options.selection, options: options, terminal: terminal)
        }
        let plan = await session.plan()
        do {
            try await apply(plan, comparedWith: saved, in: session, terminal: terminal)
            await session.close()
        } catch {
            await session.close()
            throw error
        }
    }

    private func apply(_ found: Plan, comparedWith saved: SavedPlan?, in session: Session, terminal: Terminal) async throws {
        var plan = found
        let comparison = saved.map { compare($0, with: found) }
        if let comparison { plan.actions = comparison.identical }
        let style = output == .text ? terminal.output : terminal.errors
        let differences = comparison?.text(style: style) ?? ""
        let text = differences + (differences.isEmpty ? "" : "\n") + plan.text(style: style, showsSteps: options.verbose)

        if let comparison, !comparison.stale.isEmpty, onStale != .skip {
            if output == .text { terminal.write(differences) } else { terminal.writeError(differences) }
            terminal.writeError("\nNothing was changed. Plan again, or give --on-stale skip to run what is not stale.\n")
            _ = refuseStale(comparison, plan: found, report: reporter(terminal))
            throw ExitCode(1)
        }
        if output == .text { terminal.write(text) }
        if plan.actions.isEmpty {
            try finish(plan, comparison, report: reporter(terminal))
            return
        }
        if !yes { try confirm(plan, text: text, terminal: terminal) }

        let interruption = Interruption(terminal: terminal)
        defer { interruption.end() }
        let show = reporter(terminal)
        let report: @Sendable (ApplyEvent) -> Void = { event in
            interruption.follow(event)
            show(event)
        }
        let summary = await session.apply(
            plan,
            budget: budget.budget,
            counted: comparison.map { reportUnrun($0, report: report) } ?? ApplySummary(),
            wait: wait?.value,
            isInterrupted: { interruption.isRequested },
            report: report
        )
        if output == .text, !plan.problems.isEmpty { terminal.write("\n" + plan.problemsText(style: terminal.output) + "\n") }
        if interruption.isRequested, summary.skipped > 0 {
            let count = summary.skipped == 1 ? "1 change was" : "\(summary.skipped) changes were"
            terminal.writeError("\nInterrupted: \(count) not made. To go on, apply again: everything is observed anew.\n")
        }
        if !summary.isComplete { throw ExitCode(1) }
    }

    /// Ends an apply that has nothing to run.
    private func finish(_ plan: Plan, _ comparison: PlanComparison?, report: (ApplyEvent) -> Void) throws {
        var summary = comparison.map { reportUnrun($0, report: report) } ?? ApplySummary()
        summary.problems = plan.problems.count
        if output == .jsonl || comparison != nil { report(.summary(summary)) }
        if !summary.isComplete { throw ExitCode(1) }
    }

    private func reporter(_ terminal: Terminal) -> @Sendable (ApplyEvent) -> Void {
        let format = output
        return { event in
            switch format {
            case .jsonl: terminal.write(event.document.lineJSON + "\n")
            case .text: if let line = event.text(style: terminal.output) { terminal.write(line + "\n") }
            }
        }
    }

    private func confirm(_ plan: Plan, text: String, terminal: Terminal) throws {
        guard terminal.inputIsTerminal else {
            terminal.writeError("error: nobody can be asked, since stdin is no terminal; nothing was changed\n")
            terminal.writeError("    Give --yes to apply without a question.\n")
            throw ExitCode(1)
        }
        if output == .jsonl { terminal.writeError(text) }
        let count = plan.actions.count == 1 ? "this change" : "these \(plan.actions.count) changes"
        let answer = terminal.ask("\n\(terminal.errors.question("Apply \(count)?")) Only 'yes' goes ahead: ")
        guard answer == "yes" else {
            terminal.writeError("Declined; nothing was changed.\n")
            throw ExitCode(1)
        }
        terminal.writeError("\n")
    }
}

extension StalePolicy: ExpressibleByArgument {}
