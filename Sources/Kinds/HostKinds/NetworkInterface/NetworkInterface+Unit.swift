import ResourceModel
import Values

extension NetworkInterface {
    /// The systemd unit that sets an interface's flags and MTU whenever its device appears: at boot, and when a driver is loaded again.
    /// It works under any network manager, since it is bound to the device and to nothing else.
    struct Unit: Hashable {
        static let folder = "/etc/systemd/system"
        static let prefix = "plumb-interface-"

        var interface: String
        var settings: Settings

        var name: String { "\(Self.prefix)\(Self.escaped(interface)).service" }
        var path: String { "\(Self.folder)/\(name)" }
        /// The unit that systemd makes for the device.
        var device: String { "sys-subsystem-net-devices-\(Self.escaped(interface)).device" }
        /// Below `folder`; what `systemctl enable` makes of `WantedBy=`.
        var wantedLink: String { "\(device).wants/\(name)" }

        var content: String {
            let commands = settings.arguments.map { "ExecStart=/sbin/ip link set dev \(interface) \($0.joined(separator: " "))" }
            let lines =
                [
                    "# Written by Plumb for NetworkInterface/\(interface); a change here is undone.",
                    "[Unit]",
                    "Description=Flags and MTU of \(interface)",
                    "BindsTo=\(device)",
                    "After=\(device)",
                    "",
                    "[Service]",
                    "Type=oneshot",
                    "RemainAfterExit=yes",
                ] + commands + [
                    "",
                    "[Install]",
                    "WantedBy=\(device)",
                ]
            return lines.joined(separator: "\n") + "\n"
        }

        /// What `systemd-escape` makes of a name: all but letters, digits, `:`, `_` and `.` as `\x2d`; a leading `.` as well.
        static func escaped(_ name: String) -> String {
            var text = ""
            for (index, byte) in name.utf8.enumerated() {
                switch byte {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: ":"), UInt8(ascii: "_"):
                    text.unicodeScalars.append(Unicode.Scalar(byte))
                case UInt8(ascii: ".") where index > 0: text += "."
                default:
                    let hex = String(byte, radix: 16)
                    text += "\\x" + (hex.count == 1 ? "0" : "") + hex
                }
            }
            return text
        }
    }

    /// The units of ours that a host has.
    struct Units: Hashable {
        /// File names and their lines, without empty ones.
        var contents: [String: [String]] = [:]
        /// Links below the units' folder, `DEVICE.wants/UNIT`.
        var wanted: Set<String> = []

        init(_ output: String) throws(HostFacts.Unreadable) {
            var current: String?
            for line in output.lines {
                if line.hasPrefix("|"), let current {
                    let content = String(line.dropFirst())
                    if !content.trimmed.isEmpty { contents[current, default: []].append(content) }
                } else if line.hasPrefix("unit ") {
                    let name = String(line.dropFirst("unit ".count))
                    contents[name] = []
                    current = name
                } else if line.hasPrefix("wanted ") {
                    wanted.insert(String(line.dropFirst("wanted ".count)))
                } else {
                    throw .init("'interface-units' has a line that does not belong there: '\(HostFacts.firstLine(line))'")
                }
            }
        }
    }

    /// Persistence of one interface, at `NetworkInterface/NAME/persist`.
    static func detectPersistence(_ desired: DesiredResource, interface: String, settings: Settings, facts: HostFacts) -> ResourceDrift? {
        guard let persist = desired.fields["persist"]?.boolValue else { return nil }
        let runtime = desired.address
        var drift = ResourceDrift(
            address: ResourceAddress(target: runtime.target, resource: "\(runtime.resource)/persist"),
            kind: desired.kind,
            handler: desired.handler,
            standing: .inSync,
            dependsOn: desired.dependsOn,
            phase: 1,
            origins: desired.origins
        )
        do throws(HostFacts.Unreadable) {
            let units = try Units(try facts.output(of: "interface-units"))
            let initSystem = try facts.output(of: "init").trimmed
            guard ["running", "absent"].contains(initSystem) else {
                throw .init("it can't be told whether systemd runs: '\(HostFacts.firstLine(initSystem))'")
            }
            compare(&drift, to: Unit(interface: interface, settings: settings), persist: persist, units: units, runsSystemd: initSystem == "running")
            // Only what has proved itself at run time may come back after a reboot.
            if persist, !settings.isEmpty { drift.dependsOn.append(runtime) }
        } catch {
            drift.standing = error.standing
        }
        return drift
    }

    private static func compare(_ drift: inout ResourceDrift, to unit: Unit, persist: Bool, units: Units, runsSystemd: Bool) {
        let lines = units.contents[unit.name]
        let isWanted = units.wanted.contains(unit.wantedLink)
        if persist {
            if lines == nil {
                drift.differences.append(FieldDifference(path: "persist", observed: false, desired: true))
            } else {
                if lines != unit.content.lines.filter({ !$0.trimmed.isEmpty }) {
                    let observed = commands(lines ?? [])
                    let desired = commands(unit.content.lines)
                    drift.differences.append(
                        FieldDifference(
                            path: "persist.unit",
                            observed: .string(observed == desired ? "\(observed) (edited by hand)" : observed),
                            desired: .string(desired)
                        )
                    )
                }
                if !isWanted { drift.differences.append(FieldDifference(path: "persist.enabled", observed: false, desired: true)) }
            }
        } else if lines != nil || isWanted {
            drift.differences.append(FieldDifference(path: "persist", observed: true, desired: false))
        }
        drift.fingerprint = [
            "unit": lines.map { .array($0.map(Value.string)) } ?? .null, "enabled": .bool(isWanted), "systemd": .bool(runsSystemd),
        ]
        if drift.differences.isEmpty { return }
        if persist, !runsSystemd {
            let message =
                "needs systemd, which does not run on this host: flags and MTU hold until the next reboot or until the driver is loaded again"
            drift.standing = .problem(.blocked, message)
            return
        }
        drift.standing = .differs
        drift.details = [
            "interface": .string(unit.interface), "settings": unit.settings.value, "persist": .bool(persist),
            "unit": lines.map { .string($0.map { $0 + "\n" }.joined()) } ?? .null,
            "enabled": .bool(isWanted), "systemd": .bool(runsSystemd),
        ]
    }

    /// What a unit runs, in short: `mtu 1500, promisc on`.
    private static func commands(_ lines: [String]) -> String {
        let commands = lines.filter { $0.hasPrefix("ExecStart=") }.map { line in
            let words = line.dropFirst("ExecStart=".count).split(separator: " ")
            return words.starts(with: ["/sbin/ip", "link", "set", "dev"]) ? words.dropFirst(5).joined(separator: " ") : words.joined(separator: " ")
        }
        return commands.isEmpty ? "nothing" : commands.joined(separator: ", ")
    }
}
