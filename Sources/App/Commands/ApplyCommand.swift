import Applying
import ArgumentParser
import Planning
import Reporting
import ResourceModel
import Stores

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
            planned anew, and only actions that are the same in both are run. Others are stale: they are shown and not run. What is new is listed
            and left alone. The plan can be applied on another machine that has the same specs, if need be with --source. Its checksum shows damage
            and is no signature, and it says where its specs are: take a plan only from whom you would take specs.

            Interrupted once, it finishes what is under way and says what is left; twice, it stops at once. Either way, apply again to go on.
            Exit status: 0 only when everything the specs declare is so at the end; else 1; 130 when interrupted twice.
            """
    )

    @Argument(help: "A folder of YAML files, one file, a git URL, or a plan (*.json).")
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
        name: .customLong("source"),
        help: ArgumentHelp(
            "With a plan, where its specs are here, if not in the place that it names (relative to the current directory).",
            valueName: "folder-or-file"
        )
    )
    var specs: String?

    @Option(
        help: ArgumentHelp(
            "How long every changed object may take to be ready: 5s, 2m (default: not awaited, but where another one depends on it).",
            valueName: "duration"
        )
    )
    var wait: DurationArgument?

    @Option(
        name: .customLong("confirm-timeout"),
        help: ArgumentHelp(
            "How long a change that may cut the connection may take, with its confirmation over a new one, before the host undoes it by itself.",
            valueName: "duration"
        )
    )
    var confirmTimeout = DurationArgument(.seconds(30))

    @Option(
        name: .customLong("lock-timeout"),
        help: ArgumentHelp(
            "How long another apply that changes the same host or cluster is waited for (default: not at all; what it holds is skipped).",
            valueName: "duration"
        )
    )
    var lockTimeout: DurationArgument?

    @Option(help: ArgumentHelp("text or jsonl.", valueName: "format"))
    var output = Format.text

    @OptionGroup var budget: BudgetOptions

    @OptionGroup var options: SharedOptions

    func validate() throws {
        if PlanFile.isNamed(source) {
            guard options.targets.isEmpty else {
                throw ValidationError("--target can't be given with a plan: it holds what it was narrowed to. Plan again with --target.")
            }
            guard options.git.revision == nil, options.git.path == nil else {
                throw ValidationError("--revision and --path can't be given with a plan: it holds both. Plan again with them.")
            }
        } else {
            guard onStale == nil else { throw ValidationError("--on-stale needs a plan: only what was planned before can be stale.") }
            guard specs == nil else {
                throw ValidationError("--source says where the specs of a plan are; '\(source)' is no plan (*.json). Give the specs alone.")
            }
            try options.git.check(source)
        }
        guard (.seconds(1) ... .seconds(3600)).contains(confirmTimeout.value) else {
            throw ValidationError("--confirm-timeout must be from 1s to 1h, not \(confirmTimeout).")
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let saved = PlanFile.isNamed(source) ? try PlanFile.read(source, terminal: terminal) : nil
        let locks = TargetLocks(command: "plumb apply \(Source.shown(source))", patience: lockTimeout?.value ?? .zero)
        let session: Session
        if let saved {
            session = try await Session(
                of: saved,
                at: specs ?? saved.source,
                options: options,
                confirmTimeout: confirmTimeout.value,
                locks: locks,
                terminal: terminal
            )
        } else {
            session = try await Session(
                source: source,
                selection: options.selection,
                options: options,
                confirmTimeout: confirmTimeout.value,
                locks: locks,
                terminal: terminal
            )
        }
        do {
            // Before anything is looked at: what is planned under the lock is still so when it is carried out.
            let record = try await ApplyRecord.open(source: source, options: options, terminal: terminal)
            defer { record.close() }
            let plan = await session.plan()
            try await session.remember(plan, isShown: output == .text, in: record)
            let comparison = saved.map { compare($0, with: plan) }
            try await apply(plan, comparison, in: session, record: record, terminal: terminal)
            await session.close()
        } catch {
            await session.close()
            throw error
        }
    }

    private func apply(
        _ found: Plan,
        _ comparison: PlanComparison?,
        in session: Session,
        record: ApplyRecord,
        terminal: Terminal
    ) async throws {
        let style = output == .text ? terminal.output : terminal.errors
        let differences = comparison?.text(style: style) ?? ""
        let show = reporter(terminal)
        if output == .jsonl { for problem in found.problems { terminal.write(problem.line.lineJSON + "\n") } }
        if let comparison, found.refusal == nil, !comparison.stale.isEmpty, onStale != .skip {
            try refuse(comparison, found, differences: differences, terminal: terminal)
        }
        var plan = found
        if let comparison, plan.refusal == nil { plan.actions = comparison.identical }
        let text = differences + (differences.isEmpty ? "" : "\n") + plan.text(style: style, showsSteps: options.verbose)
        if output == .text { terminal.write(text) }
        if plan.refusal != nil {
            try refuse(plan, report: show, terminal: terminal)
        }
        if plan.actions.isEmpty {
            await session.settleInventories()
            try finish(plan, comparison, report: show)
            return
        }
        if !yes { try confirm(plan, text: text, terminal: terminal) }

        let interruption = Interruption(terminal: terminal)
        defer { interruption.end() }
        do throws(StoreFailure) { try await record.begin(plan) } catch { throw terminal.failed(error, "nothing was changed") }
        let report: @Sendable (ApplyEvent) -> Void = { event in
            interruption.follow(event)
            show(event)
        }
        let summary = await session.apply(
            plan,
            record: record,
            budget: budget.budget(hosts: session.hostCount),
            counted: comparison.map { reportUnrun($0, report: report) } ?? ApplySummary(),
            wait: wait?.value,
            isInterrupted: { interruption.isRequested },
            report: report
        )
        let isRecorded = await record.end(summary)
        if output == .text, !plan.problems.isEmpty { terminal.write("\n" + plan.problemsText(style: terminal.output) + "\n") }
        if interruption.isRequested, summary.skipped > 0 {
            let count = summary.skipped == 1 ? "1 change was" : "\(summary.skipped) changes were"
            terminal.writeError("\nInterrupted: \(count) not made. To go on, apply again: everything is observed anew.\n")
        }
        if !summary.isComplete || !isRecorded { throw ExitCode(1) }
    }

    /// Ends an apply of a plan of which something is stale.
    private func refuse(_ comparison: PlanComparison, _ plan: Plan, differences: String, terminal: Terminal) throws {
        let style = output == .text ? terminal.output : terminal.errors
        let text = differences + (plan.problems.isEmpty ? "" : "\n\(plan.problemsText(style: style))\n")
        if output == .text { terminal.write(text) } else { terminal.writeError(text) }
        let show = reporter(terminal)
        _ = refuseStale(comparison, plan: plan) { event in
            // The diff has said it of each.
            if case .skipped = event, output == .text { return }
            show(event)
        }
        let (stale, rest) = (comparison.stale.count, comparison.identical.count)
        let all = stale + comparison.unneeded.count + rest
        let what = all == 1 ? "the plan's only change is" : "\(stale) of the plan's \(all) changes \(stale == 1 ? "is" : "are")"
        let others = rest == 0 ? "" : ", or give --on-stale skip to run the \(rest == 1 ? "one that is" : "\(rest) that are") as planned"
        terminal.writeError("\n\(terminal.errors.errorWord): \(what) stale; nothing was changed\n    Plan again and look at what is new\(others).\n")
        throw ExitCode(1)
    }

    /// Ends an apply of a plan that is refused whole.
    private func refuse(_ plan: Plan, report: (ApplyEvent) -> Void, terminal: Terminal) throws {
        if output == .jsonl {
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(plan.refusal ?? ""))\n")
            var summary = ApplySummary()
            summary.problems = plan.problems.count
            report(.summary(summary))
        }
        throw ExitCode(1)
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
