import DriftDetection
import Planning
import Reconciling
import Reporting
import ResourceModel

/// What a person is shown before anything is given up.
struct ReleaseReport {
    var pattern: String
    var desired: DesiredState
    var terminal: Terminal
    var showsSteps: Bool

    /// - Parameter objects: What is given up in clusters; on hosts it is `releasing`.
    func show(_ releasing: Releasing, objects: [OwnedResource], plan: Plan) {
        if !plan.actions.isEmpty || !plan.problems.isEmpty { terminal.write(plan.text(style: terminal.output, showsSteps: showsSteps)) }
        let addresses = (releasing.settings.map(\.address) + objects.map(\.address)).sorted()
        guard !addresses.isEmpty else {
            if plan.problems.isEmpty { showNothing() }
            return
        }
        var text = plan.actions.isEmpty && plan.problems.isEmpty ? "" : "\n"
        text += list("Given up", addresses.map(\.description))
        if !releasing.stays.isEmpty { text += "\n" + list("Stays as it is", releasing.stays) }
        terminal.write(text)
        warn(of: releasing.settings, objects: objects)
    }

    func showForgotten(_ settings: [HeldSetting]) {
        terminal.write(list("Forgotten, and left on the host as it is, with what Plumb wrote there", settings.map { "\($0.address): \($0.words)" }))
        warn(of: settings)
    }

    func showNothing() { terminal.write("Nothing is held that '\(Escaping.shown(pattern))' means.\n") }

    private func warn(of settings: [HeldSetting], objects: [OwnedResource] = []) {
        // What is declared in part is declared, too.
        let settings = Set(settings).subtracting(orphans(of: settings, in: desired, kinds: Source.kinds)).map(\.address)
        let known = Set(desired.resources.map(\.address))
        let declared = settings + objects.map(\.address).filter(known.contains)
        guard !declared.isEmpty else { return }
        terminal.write("\n" + list("Still declared: the next apply takes it again", declared.sorted().map(\.description)))
    }

    private func list(_ heading: String, _ lines: [String]) -> String {
        "\(terminal.output.bold(heading))\n" + lines.map { "  - \(Escaping.shown($0))\n" }.joined()
    }
}
