<#
.SYNOPSIS
Waits for the end of a task by looking at its state file; needs neither codexctl nor the service.
.EXAMPLE
./wait_for_task.ps1 .codex/tasks/T-001.json -TimeoutSeconds 600
.NOTES
Exit codes, as of `codexctl task wait`: 0 DONE, 1 ERROR, 6 cancelled, 8 TIMEOUT, 11 not ended in time.
#>
param(
    [Parameter(Mandatory)] [string] $StateFile,
    [int] $TimeoutSeconds = 3600,
    [int] $StalledAfterSeconds = 60
)

$deadline = (Get-Date).AddSeconds($TimeoutSeconds)
$shown = ''
while ($true) {
    $task = $null
    # The file is replaced as a whole: what can be read is whole.
    try { $task = Get-Content -Raw -LiteralPath $StateFile -ErrorAction Stop | ConvertFrom-Json } catch { }
    if ($task) {
        $now = "$($task.status) $($task.progress)"
        if ($now -ne $shown) { Write-Output $now; $shown = $now }
        switch ($task.status) {
            'DONE' { Write-Output "changed: $($task.result.filesChanged -join ', ')"; exit 0 }
            'TIMEOUT' { exit 8 }
            'ERROR' {
                [Console]::Error.WriteLine($task.error)
                if ($task.outcome -eq 'cancelled') { exit 6 } else { exit 1 }
            }
            'RUNNING' {
                # PowerShell 7 makes a DateTime of it, 5.1 leaves the text.
                $quiet = (Get-Date).ToUniversalTime() - ([datetime] $task.lastHeartbeat).ToUniversalTime()
                if ($quiet.TotalSeconds -gt $StalledAfterSeconds) {
                    Write-Warning "no heartbeat for $([int] $quiet.TotalSeconds) s; the service retries it"
                }
            }
        }
    }
    if ((Get-Date) -ge $deadline) { exit 11 }
    Start-Sleep -Seconds 1
}
