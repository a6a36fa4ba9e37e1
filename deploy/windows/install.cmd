@echo off
rem Installs the agent from the folder of this file, or replaces an installed one. As an administrator.
rem C:\ProgramData\lockstep\agent.toml must be there (docs/windows.md).
setlocal
set folder=%ProgramFiles%\lockstep
set config=%ProgramData%\lockstep\agent.toml

net session >nul 2>&1 || (echo Say this in an administrator's console. & exit /b 1)
"%~dp0lockstep.exe" check "%config%" || exit /b 1

sc.exe query lockstep-agent >nul 2>&1
if %errorlevel% equ 0 (
  "%folder%\lockstep.exe" agent stop || exit /b 1
  copy /y "%~dp0lockstep.exe" "%folder%\lockstep.exe" >nul || exit /b 1
) else (
  if not exist "%folder%" mkdir "%folder%"
  copy /y "%~dp0lockstep.exe" "%folder%\lockstep.exe" >nul || exit /b 1
  "%folder%\lockstep.exe" agent install --config "%config%" || exit /b 1
)
"%folder%\lockstep.exe" agent start
